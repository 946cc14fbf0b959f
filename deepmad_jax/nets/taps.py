"""The taps of a conv's kernel and the pixels of a map that they meet.

Shapes are (batch, H, W, channels) of maps and (k, l, c_in, c_out) of kernels. The functions differ
from `jax.lax`'s convs in that they only move pixels, so that products and sums can be chosen.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = ("NHWC", "HWIO", "NHWC")
"""Of images, kernels and results, as in all of `nets`."""

Pads = tuple[tuple[int, int], ...]
"""Zeros before and after a map, by axis."""


def taps(kernel: jax.Array) -> list[tuple[int, int]]:
    """Every tap's row and column, row by row."""
    return [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]


def padded(x: jax.Array, pads: Pads) -> jax.Array:
    """The maps with zeros around them."""
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def outputs(shape: Sequence[int], size: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Height and width of a conv's result where padding is in the map already.

    >>> outputs((9, 8), (3, 3), (2, 2))
    (4, 3)
    """
    return tuple((n - k) // s + 1 for n, k, s in zip(shape, size, strides, strict=True))


def every(
    x: jax.Array, start: Sequence[int], shape: Sequence[int], strides: Sequence[int]
) -> jax.Array:
    """So many pixels of each map, a stride apart: what one tap meets."""
    ends = [a + (n - 1) * s + 1 for a, n, s in zip(start, shape, strides, strict=True)]
    return lax.slice(x, (0, *start, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1))


def spread(
    dy: jax.Array,
    shape: Sequence[int],
    size: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
) -> jax.Array:
    """What a conv of stride 1 with the kernel reversed makes the images' gradient of.

    It is the gradient of the result, a stride apart, in as many zeros as give the images' size.

    Args:
        dy: gradient of the result.
        shape: height and width of the images.
        size, strides, pads: of the conv.
    """
    around = [
        (k - 1 - low, n + low - ((out - 1) * stride + 1), stride - 1)
        for k, (low, _), n, out, stride in zip(
            size, pads, shape, dy.shape[1:3], strides, strict=True
        )
    ]
    return lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *around, (0, 0, 0)])


def placed(
    share: jax.Array,
    tap: Sequence[int],
    shape: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
) -> jax.Array:
    """Images of zeros with one tap's share of every pixel of a result where the tap met them.

    Args:
        share: shape (batch, H, W, channels) of the result's height and width.
        tap: row and column.
        shape: height and width of the images.
        strides, pads: of the conv.
    """
    around = [
        (i - low, n + low - i - ((out - 1) * stride + 1), stride - 1)
        for i, (low, _), n, out, stride in zip(
            tap, pads, shape, share.shape[1:3], strides, strict=True
        )
    ]
    return lax.pad(share, jnp.zeros((), share.dtype), [(0, 0, 0), *around, (0, 0, 0)])


def within_reach(
    kernel: jax.Array, shape: Sequence[int], strides: Sequence[int], pads: Pads
) -> tuple[jax.Array, Pads]:
    """The kernel without outer taps that meet nothing but padding wherever it stands.

    Args:
        kernel: of any size.
        shape: height and width of the images, without padding.
        strides, pads: of the conv.

    Returns:
        The kernel, whole where no tap meets the map, and the padding for the same result.
    """
    reach, left = [], []
    for axis, (n, stride, (low, high)) in enumerate(zip(shape, strides, pads, strict=True)):
        k = kernel.shape[axis]
        (count,) = outputs((n + low + high,), (k,), (stride,))
        starts = [place * stride - low for place in range(count)]
        meets = [tap for tap in range(k) if any(0 <= start + tap < n for start in starts)]
        first, last = (meets[0], meets[-1]) if meets else (0, k - 1)
        reach.append(slice(first, last + 1))
        left.append((low - first, high - (k - 1 - last)))
    return kernel[tuple(reach)], tuple(left)
