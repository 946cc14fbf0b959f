"""Convolutions in the forms that XLA compiles well for CPUs: the same sums, last bits aside.

XLA's CPU compiler runs a conv with a group a channel, the kernel gradient of a 1x1 conv, and any
conv whose kernel has more taps than its map has pixels, far below what the core can do. Here the
first is a sum over the kernel's taps of shifted maps,

    y[p] = sum_t w[t] x[s p + t],    dx = the same of dy with zeros between its pixels, w reversed,
    dw[t] = sum_p x[s p + t] dy[p],

and the others are matrix products over pixels (`pixel_dot.py`, `small_conv.py`). A conv of clips is
a sum over its kernel's frames of convs of images (`benchmarks/clip_convs.py`), large kernels with a
group a channel are done as `large_conv.py` says, and everything else is left to `jax.lax`. Networks
use it where they are made with ``cpu_convs``, as the jobs do on a CPU; exports and other devices do
not.

CPU time of a step without and with it: see `benchmarks/train_step.py` (``--cpu-convs=false`` makes
the first of each).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from deepmad_jax.nets import large_conv, small_conv
from deepmad_jax.nets.pixel_dot import pixel_dot
from deepmad_jax.nets.taps import (
    LAYOUT,
    Pads,
    every,
    outputs,
    padded,
    spread,
    taps,
    within_reach,
)

LAYOUTS = {4: LAYOUT, 5: ("NDHWC", "DHWIO", "NDHWC")}
"""By the axes of a batch: of images, and of clips."""


def conv_for_cpu(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    feature_group_count: int = 1,
    **others: Any,
) -> jax.Array:
    """What `jax.lax.conv_general_dilated` gives for the same arguments, as `nnx.Conv` calls it.

    Reverse mode only: there is no forward-mode derivative (`jax.custom_vjp` allows none).

    Args:
        x: images, shape (batch, H, W, c_in), or clips, (batch, frames, H, W, c_in), of the kernel's
            dtype.
        kernel: shape (k, k, c_in / groups, c_out), of clips (k_t, k, k, c_in / groups, c_out).
        strides, padding, feature_group_count: as there.
        others: the rest of its arguments; `jax.lax` does whatever asks for more than a precision.
    """
    groups, size = feature_group_count, kernel.shape[:-2]
    if _is_plain(x, kernel, others) and x.ndim == 5:
        pads = _pads(x.shape[1:4], size, strides, padding)
        return _of_clips(x, kernel, strides, pads, groups, others.get("precision"))
    if _is_plain(x, kernel, others):
        pads = _pads(x.shape[1:3], size, strides, padding)
        if size == (1, 1) and groups == 1 and not any(map(any, pads)):
            pixels = every(x, (0, 0), outputs(x.shape[1:3], size, strides), strides)
            return pixel_dot(pixels, kernel[0, 0], others.get("precision"))
        if size != (1, 1) and groups == x.shape[-1] == kernel.shape[-1]:
            if large_conv.suits(size, strides, pads):
                return large_conv.fourier_conv(x, kernel, pads)
            kernel, pads = within_reach(kernel, x.shape[1:3], strides, pads)
            return _depthwise(x, kernel, tuple(strides), pads)
        form = small_conv.form_of(x.shape, kernel.shape, strides, pads)
        if groups == 1 and form is not None:
            return form(x, kernel, tuple(strides), pads, others.get("precision"))
    return lax.conv_general_dilated(
        x, kernel, strides, padding, feature_group_count=groups, **others
    )


def _is_plain(x: jax.Array, kernel: jax.Array, others: dict[str, Any]) -> bool:
    """Whether it is a conv of maps in our layout, with nothing asked for but a precision."""
    asked = {name: value for name, value in others.items() if value is not None}
    asked.pop("precision", None)
    dilations = [asked.pop(f"{side}_dilation", (1, 1)) for side in ("lhs", "rhs")]
    layout = lax.conv_dimension_numbers(x.shape, kernel.shape, asked.pop("dimension_numbers", None))
    ours = lax.conv_dimension_numbers(x.shape, kernel.shape, LAYOUTS[x.ndim])
    return not asked and layout == ours and all(set(d) == {1} for d in dilations)


def _of_clips(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    pads: Pads,
    groups: int,
    precision: Any,
) -> jax.Array:
    """The sum over the kernel's frames of what each gives, all frames of the clips as images."""
    frames = jnp.pad(x, ((0, 0), pads[0], (0, 0), (0, 0), (0, 0)))
    ((count,), step) = outputs(frames.shape[1:2], kernel.shape[:1], strides[:1]), strides[0]
    wide, total = jnp.promote_types(x.dtype, jnp.float32), jnp.float32(0)
    for first, part in enumerate(kernel):
        under = lax.slice_in_dim(frames, first, first + (count - 1) * step + 1, step, axis=1)
        images = under.reshape(-1, *under.shape[2:])
        given = conv_for_cpu(
            images,
            part,
            strides[1:],
            pads[1:],
            feature_group_count=groups,
            dimension_numbers=LAYOUT,
            precision=precision,
        )
        total += given.astype(wide)
    return total.reshape(x.shape[0], count, *total.shape[1:]).astype(x.dtype)


def _pads(
    shape: Sequence[int],
    size: Sequence[int],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
) -> Pads:
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(shape, size, strides, padding)
    return tuple((low, high) for low, high in padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """A conv with a group a channel; kernel of shape (k, k, 1, channels)."""
    # An array, else what gives the maps is computed anew for every tap.
    around = lax.optimization_barrier(padded(x, pads))
    shape = outputs(around.shape[1:3], kernel.shape[:2], strides)
    # Narrow dtypes add up in float32, as in any other conv.
    wide = jnp.promote_types(x.dtype, jnp.float32)
    total = sum(
        every(around, tap, shape, strides).astype(wide) * kernel[(*tap, 0)].astype(wide)
        for tap in taps(kernel)
    )
    return jnp.asarray(total, x.dtype)


def _forward(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> Any:
    return _depthwise(x, kernel, strides, pads), (x, kernel)


def _backward(strides: tuple[int, ...], pads: Pads, saved: Any, dy: jax.Array) -> Any:
    x, kernel = saved
    back = spread(dy, x.shape[1:3], kernel.shape[:2], strides, pads)
    dx = _depthwise(back, kernel[::-1, ::-1], (1, 1), ((0, 0), (0, 0)))
    return dx, _kernel_gradient(padded(x, pads), dy, kernel, strides)


_depthwise.defvjp(_forward, _backward)


def _kernel_gradient(
    around: jax.Array, dy: jax.Array, kernel: jax.Array, strides: tuple[int, ...]
) -> jax.Array:
    """Pixel by pixel of dy, all taps at once: reductions over whole maps are what XLA does slowly.

    Images stay apart until the end, so that a batch split over devices stays where it is.
    """
    batch, height, width, channels = dy.shape
    met = (batch, *kernel.shape[:2], channels)
    wide = jnp.promote_types(dy.dtype, jnp.float32)

    def add_pixel(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        row, column = index // width, index % width
        corner = (0, row * strides[0], column * strides[1], 0)
        patch = lax.dynamic_slice(around, corner, met)
        pixel = lax.dynamic_slice(dy, (0, row, column, 0), (batch, 1, 1, channels))
        return total + patch.astype(wide) * pixel.astype(wide), None

    total, _ = lax.scan(add_pixel, jnp.zeros(met, wide), jnp.arange(height * width))
    return total.sum(0)[:, :, None].astype(kernel.dtype)
