"""From one encoded or raw image to a square uint8 array of the network's resolution.

Pure functions of one image, run on the host, in worker processes where there are some. Cutting and
resizing are one antialiased Pillow call. Normalisation happens on the device, not here.

Source: the random crop is the one of Szegedy et al. 2015 (arXiv 1409.4842) with the ranges that
PyTorch and timm use.
"""

import io
import math

import numpy as np
from PIL import Image

CROP_AREA = (0.08, 1.0)
"""Range of the random crop's share of the image's area."""

CROP_ASPECT = (3 / 4, 4 / 3)
"""Range of the random crop's width over height, drawn evenly on a log scale."""

Box = tuple[float, float, float, float]


def to_pillow(image: bytes | np.ndarray, channels: int) -> Image.Image:
    """A Pillow image, RGB or grey.

    Args:
        image: an encoded file (JPEG, PNG) or a uint8 array of shape (height, width, channels).
        channels: 3 or 1; a grey or CMYK file is converted.
    """
    if isinstance(image, bytes):
        return Image.open(io.BytesIO(image)).convert("RGB" if channels == 3 else "L")
    return Image.fromarray(image[..., 0] if channels == 1 else image)


def cut(image: Image.Image, box: Box, resolution_px: int, channels: int) -> np.ndarray:
    """The part inside ``box``, resized: uint8, shape (resolution, resolution, channels).

    Args:
        image: RGB or grey.
        box: left, top, right, bottom in pixels, fractions allowed.
        resolution_px: side of the result.
        channels: of the image.
    """
    size = (resolution_px, resolution_px)
    resized = image.resize(size, Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized).reshape(*size, channels)


def centre_box(width: int, height: int, share: float) -> Box:
    """The central square whose side is ``share`` of the short side.

    Cutting it and resizing to r is resizing the short side to r / share and cutting the central r,
    in one step and without rounding r / share.

    >>> centre_box(100, 60, 0.5)
    (35.0, 15.0, 65.0, 45.0)
    """
    side = share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)


def random_box(rng: np.random.Generator, width: int, height: int) -> Box:
    """A random part of the image, by area and aspect ratio; inside the image.

    After ten draws that do not fit, the largest central part with an aspect in range.
    """
    for _ in range(10):
        area = width * height * rng.uniform(*CROP_AREA)
        aspect = math.exp(rng.uniform(math.log(CROP_ASPECT[0]), math.log(CROP_ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(0, width - w + 1))
            top = int(rng.integers(0, height - h + 1))
            return (left, top, left + w, top + h)
    w = min(width, height * CROP_ASPECT[1])
    h = min(height, width / CROP_ASPECT[0])
    left, top = (width - w) / 2, (height - h) / 2
    return (left, top, left + w, top + h)


def random_flip(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image or, half of the time, its mirror image; shape (height, width, channels)."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def random_shift(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The image moved by up to an eighth of its side in each direction, zeros moving in.

    Args:
        rng: draws both moves, evenly among whole pixels.
        image: square, shape (resolution, resolution, channels).
    """
    most = image.shape[0] // 8
    dy, dx = rng.integers(-most, most + 1, size=2)
    return _shift(image, int(dy), int(dx))


def _shift(image: np.ndarray, dy: int, dx: int) -> np.ndarray:
    # Slices, not np.pad: a fifth of the time, and small images are bound by it.
    height, width, _ = image.shape
    shifted = np.zeros_like(image)
    shifted[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = image[
        max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)
    ]
    return shifted
