"""Convs of maps with no more pixels than the kernel has taps, as products of two matrices.

XLA takes such a conv's kernel for the image and its image for the kernel, which on a CPU runs far
below what the core can do. Here every pixel's neighbourhood is laid out as a row, over the taps
that meet the map at all, and the rows are multiplied with the kernel:

    y[p] = sum_t x[s p + t] w[t],    dx = the same of dy with zeros between its pixels, w reversed,
    dw[t] = sum_p x[s p + t] dy[p].

Milliseconds of one core of a busy Intel Xeon with AVX-512 (jax 0.10.2, float32, eight images,
2026-11-30), by `jax.lax` and so:

    5x5 kernel, channels        result          gradient by the images
    3 x 3 pixels, 120           6.8 and 1.4       7.0 and 1.7
    4 x 4 pixels, 128          40.4 and 2.0      40.6 and 2.9
    3 x 3 pixels, 256         157.7 and 4.5     162.0 and 7.6
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deepmad_jax.nets.pixel_dot import kernel_gradient
from deepmad_jax.nets.taps import Pads, every, outputs, padded, spread, taps, within_reach


def suits(size: Sequence[int], shape: Sequence[int], strides: Sequence[int], pads: Pads) -> bool:
    """Whether the kernel has more taps than the images, or the result, have pixels.

    The result is the image of the conv that gives the images' gradient.
    """
    around = [n + low + high for n, (low, high) in zip(shape, pads, strict=True)]
    given = outputs(around, size, strides)
    return min(given) > 0 and math.prod(size) > min(math.prod(shape), math.prod(given))


def small_conv(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads, precision: Any = None
) -> jax.Array:
    """A conv without groups.

    Args:
        x: images, shape (batch, H, W, c_in).
        kernel: shape (k, l, c_in, c_out).
        strides, pads: on both axes.
        precision: of the products, as in `jax.lax.dot_general`.
    """
    kernel, pads = within_reach(kernel, x.shape[1:3], strides, pads)
    return _conv(x, kernel, strides, pads, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads, precision: Any
) -> jax.Array:
    rows = _rows(x, kernel, strides, pads)
    return jnp.dot(rows, kernel.reshape(-1, kernel.shape[-1]), precision=precision)


def _forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads, precision: Any
) -> Any:
    return _conv(x, kernel, strides, pads, precision), (x, kernel)


def _backward(
    strides: tuple[int, ...], pads: Pads, precision: Any, saved: Any, dy: jax.Array
) -> Any:
    x, kernel = saved
    back = spread(dy, x.shape[1:3], kernel.shape[:2], strides, pads)
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    dx = _conv(back, turned, (1, 1), ((0, 0), (0, 0)), precision)
    # Rows anew: to keep them takes as many times the map as there are taps.
    rows = _rows(x, kernel, strides, pads)
    return dx, kernel_gradient(rows, dy, precision).reshape(kernel.shape)


_conv.defvjp(_forward, _backward)


def _rows(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """What the taps meet, beside each other: shape (batch, H, W, taps * c_in)."""
    around = padded(x, pads)
    shape = outputs(around.shape[1:3], kernel.shape[:2], strides)
    return jnp.concatenate([every(around, tap, shape, strides) for tap in taps(kernel)], axis=-1)
