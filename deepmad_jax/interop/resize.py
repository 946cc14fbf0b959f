"""Tables of positions and of biases brought to the size that a network has.

A checkpoint of 224 pixels fits a network of any other resolution so: maps of positions are resized,
the class token's stays; biases by relative position are maps of ``2 w - 1`` pixels a side for
windows of ``w``. Bicubic as the authors' fine-tuning does it, PVT's positions bilinear.
"""

import math

import numpy as np

from deepmad_jax.nets.resize import resize_weights


def resize_table(table: np.ndarray, shape: tuple[int, ...], method: str) -> np.ndarray | None:
    """The table at another size, or None where it is no table of that kind.

    Args:
        table: shape (1, rows, channels) or, of biases, (rows, heads).
        shape: the one that is wanted.
        method: ``bicubic`` or ``bilinear``.
    """
    table = np.asarray(table)
    if table.ndim != len(shape) or table.shape[-1] != shape[-1] or table.ndim not in (2, 3):
        return None
    rows, wanted = table.shape[-2], shape[-2]
    old, new = math.isqrt(rows), math.isqrt(wanted)
    # A row more than a square is the class token's, and it is first.
    extra = rows - old**2
    if extra > 1 or wanted - new**2 != extra or math.prod(table.shape) != rows * shape[-1]:
        return None
    flat = table.reshape(rows, -1)
    weights = resize_weights(old, new, method)
    places = flat[extra:].reshape(old, old, -1)
    resized = np.einsum("hy,wx,yxc->hwc", weights, weights, places).reshape(new**2, -1)
    return np.concatenate([flat[:extra], resized]).reshape(shape).astype(np.float32)
