"""Image operations of RandAugment, AutoAugment and colour jitter: Pillow's results, OpenCV's speed.

Pure functions of a uint8 image of shape (height, width, channels), 1 or 3 channels, and a number;
none changes its argument. Each gives what Pillow gives, which timm and torchvision call
(tests/data/test_augment_ops.py): tables exactly, blends within a rounding of 1 (Pillow truncates),
moves within the 1/32 pixel to which OpenCV rounds positions, and, along the edges of the moved
image, half a pixel that OpenCV blends with the fill where Pillow repeats the edge.

Why not Pillow itself: at 224 pixels a move takes it 1.0 (linear) to 2.4 ms (cubic), OpenCV 0.25 and
0.8; the whole of RandAugment would cost as much as decoding the image.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
}

Fill = Sequence[int]


def auto_contrast(image: np.ndarray) -> np.ndarray:
    """Every channel stretched to 0-255; a channel of one value stays."""
    tables = []
    for counts in _histograms(image):
        used = np.flatnonzero(counts)
        low, high = int(used[0]), int(used[-1])
        scale = 255.0 / (high - low) if high > low else 1.0
        offset = -low * scale if high > low else 0.0
        # Toward zero, as Pillow does.
        tables.append(np.clip((np.arange(256) * scale + offset).astype(int), 0, 255))
    return _look_up(image, np.stack(tables))


def equalize(image: np.ndarray) -> np.ndarray:
    """Every channel's histogram made as flat as a table of its values can."""
    tables = []
    for counts in _histograms(image):
        used = np.flatnonzero(counts)
        step = (int(counts.sum()) - int(counts[used[-1]])) // 255
        if len(used) < 2 or step == 0:
            tables.append(np.arange(256))
        else:
            below = np.cumsum(counts) - counts
            tables.append(np.minimum((step // 2 + below) // step, 255))
    return _look_up(image, np.stack(tables))


def invert(image: np.ndarray) -> np.ndarray:
    """255 - image."""
    return 255 - image


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """The highest ``bits`` bits of every value; 0 leaves black, 8 changes nothing."""
    return image & np.uint8(256 - 2 ** (8 - bits))


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Values from ``threshold`` up inverted."""
    values = np.arange(256)
    return _look_up(image, np.where(values < threshold, values, 255 - values))


def solarize_add(image: np.ndarray, added: int) -> np.ndarray:
    """``added`` onto values below 128, up to 255."""
    values = np.arange(256)
    return _look_up(image, np.where(values < 128, np.minimum(values + added, 255), values))


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Saturation: 0 gives grey, 1 the image, more than 1 stronger colours."""
    if image.shape[-1] == 1:
        return image
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return _blend(cv2.merge([grey, grey, grey]), image, factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Distance from the mean brightness multiplied by ``factor``."""
    grey = image if image.shape[-1] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    mean = int(cv2.mean(grey)[0] + 0.5)
    return _look_up(image, _table(mean + factor * (np.arange(256) - mean)))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Values multiplied by ``factor``."""
    return _look_up(image, _table(factor * np.arange(256)))


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """0 gives a smoothed image, 1 the image, more than 1 a sharpened one; borders stay."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    result = image.copy()
    smooth = cv2.filter2D(image, -1, kernel).reshape(image.shape)
    result[1:-1, 1:-1] = _blend(smooth, image, factor)[1:-1, 1:-1]
    return result


def rotate(image: np.ndarray, degrees: float, interpolation: str, fill: Fill) -> np.ndarray:
    """Turned counter-clockwise about the centre."""
    height, width = image.shape[:2]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    matrix = (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)
    return _move(image, matrix, interpolation, fill)


def shear_x(image: np.ndarray, slope: float, interpolation: str, fill: Fill) -> np.ndarray:
    """Row y moved left by ``slope`` y pixels."""
    return _move(image, (1, slope, 0, 0, 1, 0), interpolation, fill)


def shear_y(image: np.ndarray, slope: float, interpolation: str, fill: Fill) -> np.ndarray:
    """Column x moved up by ``slope`` x pixels."""
    return _move(image, (1, 0, 0, slope, 1, 0), interpolation, fill)


def translate_x(image: np.ndarray, pixels: float, interpolation: str, fill: Fill) -> np.ndarray:
    """Moved left by ``pixels``."""
    return _move(image, (1, 0, pixels, 0, 1, 0), interpolation, fill)


def translate_y(image: np.ndarray, pixels: float, interpolation: str, fill: Fill) -> np.ndarray:
    """Moved up by ``pixels``."""
    return _move(image, (1, 0, 0, 0, 1, pixels), interpolation, fill)


def _move(image: np.ndarray, matrix: Sequence[float], interpolation: str, fill: Fill) -> np.ndarray:
    # The matrix takes a place in the result to its place in the image, pixel corners at whole
    # numbers, as in Pillow; in OpenCV pixel centres are at whole numbers.
    a, b, c, d, e, f = matrix
    centred = np.array([[a, b, a / 2 + b / 2 + c - 0.5], [d, e, d / 2 + e / 2 + f - 0.5]])
    moved = cv2.warpAffine(
        image,
        centred,
        (image.shape[1], image.shape[0]),
        flags=INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP,
        borderValue=tuple(fill),
    )
    return moved.reshape(image.shape)


def _blend(first: np.ndarray, second: np.ndarray, factor: float) -> np.ndarray:
    return cv2.addWeighted(first, 1 - factor, second, factor, 0).reshape(second.shape)


def _histograms(image: np.ndarray) -> list[np.ndarray]:
    """How often each of the 256 values occurs, a channel at a time."""
    return [
        cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
        for channel in range(image.shape[-1])
    ]


def _table(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255)


def _look_up(image: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Every value replaced by its entry: tables of shape (256,), or (channels, 256)."""
    tables = tables.astype(np.uint8)
    if tables.ndim == 2:
        tables = tables.T.reshape(1, 256, -1)
    return cv2.LUT(image, np.ascontiguousarray(tables)).reshape(image.shape)
