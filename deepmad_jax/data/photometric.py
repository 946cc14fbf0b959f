"""Brightness, contrast, saturation and hue of a photograph changed at random.

Each change is made with probability 1/2, in this order, but the contrast last as often as second;
after each the pixels are whole numbers again.

Source: SSD (Liu et al. 2016, arXiv 1512.02325), section 2.2, with mmsegmentation's ranges.
"""

import cv2
import numpy as np

BRIGHTNESS = 32.0
"""Added to or taken from every value, at most."""

CONTRAST = SATURATION = (0.5, 1.5)
"""Factors."""

HUE = 18
"""Half degrees of the colour circle, at most."""

HUES = 180
"""Of OpenCV's 8-bit colour circle."""


def distort(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The photograph in another light; uint8 RGB of the same shape.

    Args:
        rng: draws what is done, and how much.
        image: uint8 (height, width, 3).
    """
    if rng.random() < 0.5:
        image = _linear(image, 1.0, rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_last = rng.random() < 0.5
    if not contrast_last:
        image = _contrast(rng, image)
    factor = rng.uniform(*SATURATION) if rng.random() < 0.5 else None
    turn = int(rng.integers(-HUE, HUE + 1)) if rng.random() < 0.5 else None
    if factor is not None or turn is not None:
        image = in_other_colours(image, factor, turn)
    return _contrast(rng, image) if contrast_last else image


def in_other_colours(image: np.ndarray, factor: float | None, turn: int | None) -> np.ndarray:
    """The image with its saturation times ``factor`` and hues turned by ``turn`` half degrees."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    if factor is not None:
        hsv[..., 1] = _linear(hsv[..., 1], factor, 0.0)
    if turn is not None:
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + turn) % HUES
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _contrast(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    return _linear(image, rng.uniform(*CONTRAST), 0.0) if rng.random() < 0.5 else image


def _linear(values: np.ndarray, factor: float, shift: float) -> np.ndarray:
    return np.clip(values.astype(np.float32) * factor + shift, 0, 255).astype(np.uint8)
