"""Convs of few pixels, as products of two matrices.

**Of fewer pixels than taps** (`small_conv`). XLA takes such a conv's kernel for the image and its
image for the kernel, which on a CPU runs far below what the core can do. Here every pixel's
neighbourhood is laid out as a row, over the taps that meet the map at all, and the rows are
multiplied with the kernel:

    y[p] = sum_t x[s p + t] w[t],    dw[t] = sum_p x[s p + t] dy[p].

The gradient by the images is one product too, whose result is put where each tap stood:

    dx[s p + t] += dy[p] w[t]^T.

**Of fewer pixels than channels, about** (`wide_conv`). There `jax.lax` turns the kernel around for
the images' gradient, which takes longer than to multiply with it: only that gradient is done so.

Milliseconds of one core of a busy Intel Xeon with AVX-512 (jax 0.10.2, float32, eight images,
2026-11-30 and 2026-12-01), by `jax.lax` and so:

    kernel and channels        result          gradient by the images
    5x5, 3 x 3 pixels, 120      6.8 and 1.4       7.0 and 0.9
    5x5, 4 x 4 pixels, 128     40.4 and 2.0      40.6 and 1.5
    5x5, 3 x 3 pixels, 256    157.7 and 4.5     162.0 and 4.3
    3x3, 3 x 3 pixels, 512                        6.0 and 2.5
    3x3, 6 x 6 pixels, 256                        3.3 and 2.2
    3x3, 6 x 6 pixels, 512, stride 2              5.3 and 2.5
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from deepmad_jax.nets.pixel_dot import kernel_gradient
from deepmad_jax.nets.taps import (
    LAYOUT,
    Pads,
    every,
    outputs,
    padded,
    placed,
    taps,
    within_reach,
)

PIXELS_A_CHANNEL = 2
"""Pixels of a batch, for each channel of the result, up to which a conv is a `wide_conv`."""


def form_of(
    images: Sequence[int], kernel: Sequence[int], strides: Sequence[int], pads: Pads
) -> Callable[..., jax.Array] | None:
    """`small_conv` or `wide_conv` where that is faster than `jax.lax`.

    A kernel has more taps than pixels where the images have fewer, or the result: it is the image
    of the conv that gives the images' gradient.

    Args:
        images, kernel: shapes of the conv's arguments.
        strides, pads: on both axes.
    """
    (batch, *shape, _), (*size, _, c_out) = images, kernel
    around = [n + low + high for n, (low, high) in zip(shape, pads, strict=True)]
    given = outputs(around, size, strides)
    if min(given) <= 0:
        return None
    if math.prod(size) > min(math.prod(shape), math.prod(given)):
        return small_conv
    # An export's batch may be of any size.
    is_wide = isinstance(batch, int) and batch * math.prod(given) <= PIXELS_A_CHANNEL * c_out
    return wide_conv if is_wide else None


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
    return _conv(x, kernel, strides, pads, precision, True)


def wide_conv(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads, precision: Any = None
) -> jax.Array:
    """As `small_conv`."""
    return _conv(x, kernel, strides, pads, precision, False)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _conv(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    pads: Pads,
    precision: Any,
    by_rows: bool,
) -> jax.Array:
    """By rows, or as `jax.lax` does it."""
    if by_rows:
        rows = _rows(x, kernel, strides, pads)
        return jnp.dot(rows, kernel.reshape(-1, kernel.shape[-1]), precision=precision)
    return _of_lax(x, kernel, strides, pads, precision)


def _forward(x: jax.Array, kernel: jax.Array, *settings: Any) -> Any:
    return _conv(x, kernel, *settings), (x, kernel)


def _backward(
    strides: tuple[int, ...],
    pads: Pads,
    precision: Any,
    by_rows: bool,
    saved: Any,
    dy: jax.Array,
) -> Any:
    x, kernel = saved
    dx = _images_gradient(dy, kernel, x.shape[1:3], strides, pads, precision)
    if by_rows:
        # Rows anew: to keep them takes as many times the map as there are taps.
        rows = _rows(x, kernel, strides, pads)
        return dx, kernel_gradient(rows, dy, precision).reshape(kernel.shape)
    of_kernel = jax.linear_transpose(lambda w: _of_lax(x, w, strides, pads, precision), kernel)
    return dx, *of_kernel(dy)


_conv.defvjp(_forward, _backward)


def _of_lax(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads, precision: Any
) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=LAYOUT, precision=precision
    )


def _images_gradient(
    dy: jax.Array,
    kernel: jax.Array,
    shape: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    precision: Any,
) -> jax.Array:
    """Gradient by images of that height and width."""
    wide = jnp.promote_types(dy.dtype, jnp.float32)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    by_channel = (((3,), (1,)), ((), ()))
    given = lax.dot_general(dy, matrix, by_channel, precision, preferred_element_type=wide)
    # An array, else the product is computed anew for every tap.
    shares = jnp.split(lax.optimization_barrier(given), math.prod(kernel.shape[:2]), axis=-1)
    total = sum(
        placed(share, tap, shape, strides, pads)
        for tap, share in zip(taps(kernel), shares, strict=True)
    )
    return jnp.asarray(total, dy.dtype)


def _rows(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """What the taps meet, beside each other: shape (batch, H, W, taps * c_in)."""
    around, (rows, columns) = padded(x, pads), kernel.shape[:2]
    height, width = outputs(around.shape[1:3], (rows, columns), strides)
    # By columns, then by rows: the pieces of all taps take XLA twice as long to compile.
    whole = (around.shape[1], width)
    beside = [every(around, (0, first), whole, (1, strides[1])) for first in range(columns)]
    around = jnp.concatenate(beside, axis=-1)
    below = [every(around, (i, 0), (height, width), (strides[0], 1)) for i in range(rows)]
    return jnp.concatenate(below, axis=-1)
