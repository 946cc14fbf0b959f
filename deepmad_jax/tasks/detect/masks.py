"""Masks between three frames: an object's own box, a proposal, and the whole image."""

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.tasks.detect.roi_align import roi_align

FOREGROUND = 0.5
"""Share of a pixel from which on it belongs to the object."""


def targets(bitmaps: jax.Array, frames: jax.Array, rois: jax.Array, out: int) -> jax.Array:
    """What a mask head is to say in each proposal: 0 or 1, shape (n, out, out).

    Args:
        bitmaps: each proposal's object, 0 or 1, shape (n, h, w).
        frames: the part of the image that each bitmap fills, shape (n, 4).
        rois: the proposals, shape (n, 4).
        out: side of the result.
    """
    size = jnp.array([bitmaps.shape[2], bitmaps.shape[1]] * 2, jnp.float32)
    sides = jnp.maximum(frames[:, 2:] - frames[:, :2], 1e-6)
    corner = jnp.tile(frames[:, :2], 2)
    inside = (rois - corner) / jnp.tile(sides, 2) * size

    def one(bitmap: jax.Array, roi: jax.Array) -> jax.Array:
        return roi_align(bitmap[..., None], roi[None], out, 1.0)[0, ..., 0]

    shares = jax.vmap(one)(bitmaps.astype(jnp.float32), inside)
    return (shares >= FOREGROUND).astype(jnp.float32)


def paste(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks in their boxes as shares of the image's pixels, float32 (n, height, width).

    Bilinear between the centres of a mask's pixels, fading to 0 past the outer ones.

    Args:
        masks: probabilities, shape (n, h, w).
        boxes: in pixels of the image, shape (n, 4).
        size: height and width of the image.
    """
    rows = _tents(boxes[:, 1], boxes[:, 3], masks.shape[1], size[0])
    columns = _tents(boxes[:, 0], boxes[:, 2], masks.shape[2], size[1])
    return rows @ masks.astype(np.float32) @ columns.transpose(0, 2, 1)


def _tents(start: np.ndarray, end: np.ndarray, inner: int, outer: int) -> np.ndarray:
    """Weights of ``inner`` mask pixels in ``outer`` image pixels, shape (n, outer, inner)."""
    centres = np.arange(outer, dtype=np.float32) + 0.5
    sides = np.maximum(end - start, np.float32(1e-6))
    place = (centres - start[:, None]) / sides[:, None] * inner - 0.5
    return np.maximum(0.0, 1.0 - np.abs(place[..., None] - np.arange(inner, dtype=np.float32)))
