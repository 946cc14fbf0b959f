"""From one image to a square uint8 array of the network's resolution.

Pure functions of one image, run on the host, in worker processes where there are some. Evaluation
cuts and resizes in one antialiased Pillow call, as published accuracies are measured; training
does so where the recipe is to be timm's, or takes OpenCV's resize, ten times as fast.
Normalisation happens on the device, not here.

Source: the random crop is the one of Szegedy et al. 2015 (arXiv 1409.4842) with the ranges that
PyTorch and timm use.
"""

import math

import cv2
import numpy as np
from PIL import Image

from deepmad_jax.data import decode

# The pipeline has its own threads and processes; OpenCV's would only get in their way.
cv2.setNumThreads(1)

CROP_ASPECT = (3 / 4, 4 / 3)
"""Range of the random crop's width over height, drawn evenly on a log scale."""

PILLOWS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
"""Interpolations that are Pillow's, by `config.data.crop_interpolation`."""

Box = tuple[float, float, float, float]
WholeBox = tuple[int, int, int, int]


def cut(
    image: np.ndarray,
    box: Box,
    resolution_px: int,
    filtered: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """The part inside ``box``, resized: uint8, shape (resolution, resolution, channels).

    Args:
        image: uint8, shape (height, width, channels).
        box: left, top, right, bottom in pixels, fractions allowed.
        resolution_px: side of the result.
        filtered: Pillow's filter, which is antialiased.
    """
    size = (resolution_px, resolution_px)
    pillow = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = pillow.resize(size, filtered, box=box)
    return np.asarray(resized).reshape(*size, image.shape[-1])


def random_cut(
    rng: np.random.Generator,
    image: bytes | np.ndarray,
    *,
    channels: int,
    resolution_px: int,
    scale_min: float,
    interpolation: str,
    scratch: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """A random part of the image, resized: uint8, shape (resolution, resolution, channels).

    A JPEG whose part is at least twice as large as the result is decoded at half its size or less.

    Args:
        rng: draws the part.
        image: an encoded file or a uint8 array.
        channels: 3 or 1.
        resolution_px: side of the result.
        scale_min: least share of the image's area.
        interpolation: ``linear`` (OpenCV, reads four pixels), ``area`` (OpenCV, averages all,
            three times as slow), ``bilinear`` or ``bicubic`` (Pillow's antialiased ones, ten times
            as slow) or ``random``: one of these two, as timm draws it.
        scratch: memory to decode into, as in `decode.decode`.
        out: array of the result's shape that the result may be written to.

    Raises:
        CorruptImage: the file is damaged.
    """
    if isinstance(image, np.ndarray):
        height, width = image.shape[:2]
        box = random_box(rng, width, height, scale_min)
    else:
        height, width = decode.size_of(image)
        box = random_box(rng, width, height, scale_min)
        # The whole image, where the part inside the box comes out at the result's size.
        needed = (
            math.ceil(height * resolution_px / (box[3] - box[1])),
            math.ceil(width * resolution_px / (box[2] - box[0])),
        )
        image = decode.decode(image, channels, least=needed, scratch=scratch, rows=box[3])
        x = image.shape[1] / width
        y = 1.0 if x == 1.0 else image.shape[0] / height  # decoded small: with all its rows
        box = (round(x * box[0]), round(y * box[1]), round(x * box[2]), round(y * box[3]))
    if interpolation == "random":
        interpolation = "bilinear" if rng.random() < 0.5 else "bicubic"
    if interpolation in PILLOWS:
        return cut(image, box, resolution_px, PILLOWS[interpolation])
    left, top, right, bottom = box
    part = image[top:bottom, left:right]
    shrinks = min(part.shape[:2]) > resolution_px
    kind = cv2.INTER_AREA if interpolation == "area" and shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(part, (resolution_px, resolution_px), dst=out, interpolation=kind)
    if resized is out:
        return out
    return resized.reshape(resolution_px, resolution_px, channels)


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


def resized_size(height: int, width: int, short: float, long: float) -> tuple[int, int]:
    """Height and width of the image as large as ``short`` and ``long`` let it be.

    >>> resized_size(480, 640, 800, 1333), resized_size(400, 1000, 800, 1333)
    ((800, 1067), (533, 1333))
    """
    factor = min(short / min(height, width), long / max(height, width))
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def random_box(rng: np.random.Generator, width: int, height: int, scale_min: float) -> WholeBox:
    """A random part of the image, by area and aspect ratio; inside the image.

    After ten draws that do not fit, the largest central part with an aspect in range.

    Args:
        rng: draws share of the area, aspect and place, up to ten times.
        width, height: of the image, pixels.
        scale_min: least share of the image's area; the greatest is 1.
    """
    low, high = (math.log(aspect) for aspect in CROP_ASPECT)
    for _ in range(10):
        # `random` alone: `uniform` and `integers` take four times as long, together a twentieth of
        # decoding an image.
        area = width * height * (scale_min + (1.0 - scale_min) * rng.random())
        aspect = math.exp(low + (high - low) * rng.random())
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.random() * (width - w + 1))
            top = int(rng.random() * (height - h + 1))
            return (left, top, left + w, top + h)
    w = round(min(width, height * CROP_ASPECT[1]))
    h = round(min(height, width / CROP_ASPECT[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return (left, top, left + w, top + h)


def random_flip(
    rng: np.random.Generator, image: np.ndarray, probability: float = 0.5
) -> np.ndarray:
    """The image or, with that probability, its mirror image; shape (height, width, channels)."""
    return cv2.flip(image, 1).reshape(image.shape) if rng.random() < probability else image


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
