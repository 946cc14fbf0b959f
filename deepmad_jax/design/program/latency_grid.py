"""Latency by a measured grid: times of single rows at a grid of channel counts, on one device.

The file of it, and how it becomes the arrays here: `latency_file`.

Between grid points of the same kind, kernel, stride and pixels the time is linear in the channels
in and in those out. Beyond the last of them it grows as the MACs do; below the first it stays.
Where all points of a place have as many channels in as out, so have all networks, and the time is
linear in that number. A point that is missing amid others takes its smaller neighbour's time, as
the MACs grow. Kinds that a file does not name take no time; BatchNorm and activation are timed with
the conv before them. An attention has one number of channels, those of its values, and in place of
a kernel the channels a head.

Three readers, three forms:

- whole networks (the search, the checks, the tables): interpolated, as above;
- the relaxation and the choice of depths: ``near``, for each kind, stride and pixels the
  non-negative ``fixed + a MACs + b elements`` nearest to the points (least squares of the ratio);
- the certificate: ``below``, such a function that exceeds no point. Between points it exceeds
  nothing either: for given kernel and pixels it is bilinear in the channels, so it is its own
  interpolation, and where channels in and out are one number it is convex in it. Beyond the grid
  it grows no faster than the MACs, as its coefficients are not negative.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from deepmad_jax.arch.cost import layer_macs
from deepmad_jax.arch.rows import Layer, Number, sides_of
from deepmad_jax.design.program.arrays import Array, namespace
from deepmad_jax.errors import InvalidConfig

GRID_KINDS = (
    *("conv", "depthwise", "dense", "pool", "mean", "scale", "add"),
    *("layer_norm", "attention"),
)
"""Kinds of layer that a grid may time."""


class Grid(NamedTuple):
    """A measured grid as arrays, float64 but where said. P places, K places with kernel.

    Attributes:
        places: kind (place in `GRID_KINDS`), stride and pixels, (P, 3).
        near, below: fixed ms, ms a giga-MAC and a mega-element of each place, (P, 3).
        codes: of kind, kernel, stride and pixels, ascending, int64, (K,).
        power: 0 where channels in and out differ, else by which power of them MACs grow, (K,).
        c_in, c_out: channels of the grid, (A,) and (B,).
        ms: milliseconds for one image, (K, A, B).
    """

    places: Array
    near: Array
    below: Array
    codes: Array
    power: Array
    c_in: Array
    c_out: Array
    ms: Array


def grid_time(grid: Grid, kind: str | None, layer: Layer, repeat: Number) -> Array:
    """Milliseconds of one row, repeats counted: interpolated where its numbers are whole.

    Raises:
        InvalidConfig: the grid times this kind of layer, but not at this place.
    """
    if kind not in GRID_KINDS:
        return 0.0
    which = GRID_KINDS.index(kind)
    if _are_whole(layer.kernel, layer.c_in, layer.c_out) and isinstance(grid.ms, np.ndarray):
        if kind == "attention":
            width = layer.c_out / layer.heads
            layer = dataclasses.replace(layer, c_in=layer.c_out, kernel=width)
        return repeat * _interpolated(grid, which, layer, repeat)
    fixed, per_gmac, per_melement = _coefficients(grid, which, layer)
    macs, elements = layer_macs(layer), moved(layer)
    return repeat * (fixed + per_gmac * (macs / 1e9) + per_melement * (elements / 1e6))


def moved(layer: Layer) -> Number:
    """Elements read and written."""
    return layer.c_in * layer.r_in**2 + layer.c_out * layer.r_out**2


def layer_at(place: tuple[str, int, int, int], c_in: int, c_out: int) -> Layer:
    """The layer that is timed at a place (kind, kernel, stride and pixels) of a grid."""
    kind, kernel, stride, pixels = place
    if kind == "attention":
        heads = max(c_out // kernel, 1)
        return Layer(kind, "main", 3 * c_out, c_out, pixels, pixels, heads=heads)
    made = 1 if kind in ("mean", "dense") else -(-pixels // stride)
    sizes = (c_in, c_out, pixels, made, kernel, stride)
    if kind == "depthwise":
        return Layer("conv", "main", *sizes, groups=c_in)
    return Layer(kind, "main", *sizes)


def _side(layer: Layer) -> Number:
    """Pixels a side of what a layer reads: only square maps are timed (`Problem` says so)."""
    return sides_of(layer.r_in)[0]


def _coefficients(grid: Grid, which: int, layer: Layer) -> tuple[Array, ...]:
    """Of the linear function: by kind, stride and pixels; three arrays over the stages."""
    stride, pixels = _plain(layer.stride), _plain(_side(layer))
    xp = namespace(stride, pixels, grid.places)
    stride, pixels = xp.asarray(stride)[..., None], xp.asarray(pixels)[..., None]
    of_kind, of_stride, of_pixels = (grid.places[:, i] for i in range(3))
    here = (of_kind == which) & (of_stride == stride) & (of_pixels == pixels)
    found = here.astype(grid.near.dtype) @ grid.near
    return found[..., 0], found[..., 1], found[..., 2]


def _interpolated(grid: Grid, which: int, layer: Layer, repeat: Number) -> np.ndarray:
    kernel, stride, pixels = (
        np.rint(np.asarray(x)).astype(np.int64) for x in (layer.kernel, layer.stride, _side(layer))
    )
    code = code_of(which, kernel, stride, pixels)
    place = np.searchsorted(grid.codes, code).clip(0, len(grid.codes) - 1)
    there = np.asarray(repeat) > 0
    lacking = (grid.codes[place] != code) & there
    power = grid.power[place]
    if (there & ~lacking & (power > 0) & (np.asarray(layer.c_in) != layer.c_out)).any():
        raise InvalidConfig(
            f"The latency table has {GRID_KINDS[which]} of equal channels in and out only, and "
            "this design may have others: measure it with this config."
        )
    if lacking.any():
        kernels, strides, sides, _ = np.broadcast_arrays(kernel, stride, pixels, lacking)
        first = tuple(axis[0] for axis in np.nonzero(lacking)) if lacking.ndim else ()
        raise InvalidConfig(
            f"The latency table has no {GRID_KINDS[which]} of kernel {kernels[first]}, stride "
            f"{strides[first]} at {sides[first]} pixels, which this design may have: measure it "
            "with this config (deepmad measure goes on where the table ends)."
        )
    i, across, over_in = cell(grid.c_in, layer.c_in)
    j, down, over_out = cell(grid.c_out, layer.c_out)
    ms = grid.ms
    low = ms[place, i, j] * (1.0 - down) + ms[place, i, j + 1] * down
    high = ms[place, i + 1, j] * (1.0 - down) + ms[place, i + 1, j + 1] * down
    beyond = np.where(power == 0, over_in * over_out, over_in**power)
    return (low * (1.0 - across) + high * across) * beyond


def cell(axis: np.ndarray, channels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The grid's interval a channel count lies in, where in it, and how far beyond the last."""
    given = np.asarray(channels, dtype=np.float64)
    clipped = np.clip(given, axis[0], axis[-1])
    i = (np.searchsorted(axis, clipped, side="right") - 1).clip(0, len(axis) - 2)
    return i, (clipped - axis[i]) / (axis[i + 1] - axis[i]), np.maximum(given / axis[-1], 1.0)


def _are_whole(*numbers: Any) -> bool:
    """Whether they are numbers, not symbols nor traced, and of whole networks."""
    for number in numbers:
        if not isinstance(number, int | float | np.ndarray | np.number):
            return False
        values = np.asarray(number)
        if values.dtype == object or not (values == np.rint(values)).all():
            return False
    return True


def _plain(numbers: Any) -> Any:
    """Arrays of objects, which hold symbols elsewhere, as arrays of numbers."""
    is_object = isinstance(numbers, np.ndarray) and numbers.dtype == object
    return numbers.astype(np.float64) if is_object else numbers


def code_of(which: Any, kernel: Any, stride: Any, pixels: Any) -> Any:
    """One whole number for a place of the grid: kind, kernel, stride and pixels."""
    return ((which * 4096 + kernel) * 64 + stride) * 65536 + pixels
