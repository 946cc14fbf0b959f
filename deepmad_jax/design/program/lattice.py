"""The integer points of a problem, as coordinates that a search can step on.

A coordinate vector u, shape (..., 1 + 4 S), holds whole numbers as float64: stem width / m, then
per stage width / m, inner / m, index of the kernel (of attention: of the number of heads) and
depth, with m = ``multiple_of``. Where inner / width is fixed, the inner coordinate is unused and
inner is derived.

Functions work on NumPy and on traced JAX arrays alike.
"""

from typing import NamedTuple

import numpy as np

from deepmad_jax.design.program.arrays import Array, namespace
from deepmad_jax.design.program.evaluate import Point
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.problem import Problem

# Keeps 0.1 * 1120 from rounding up past 112.
_SLACK = 1e-9

KERNELS = 4
"""Choices a stage that a lattice has room for; where there are more, it has their number."""


class Lattice(NamedTuple):
    """Bounds and units of the coordinates, float64 arrays.

    Attributes:
        low, high: least and greatest coordinates, (1 + 4 S,).
        multiple: m, a scalar.
        kernels: of each stage the sizes it may take, numbers of heads or, of clips, pixels under a
            kernel over its frames, ascending, (S, K), the last perhaps more than once.
        ratio_low, ratio_high: of inner / width, scalars.
        fixed_ratio: 1.0 where the ratio is a single value, else 0.0.
    """

    low: Array
    high: Array
    multiple: Array
    kernels: Array
    ratio_low: Array
    ratio_high: Array
    fixed_ratio: Array


def lattice_of(problem: Problem) -> Lattice:
    """The lattice of a problem, as NumPy arrays."""
    m = problem.multiple_of
    choices = problem.choices
    # Repeats of the last change nothing and let spaces of few kernels share a compilation.
    room = max(KERNELS, *map(len, choices))
    padded = [sizes + sizes[-1:] * (room - len(sizes)) for sizes in choices]
    stages = problem.num_stages
    width_high = np.array(problem.per_stage("max_width"))
    low = (
        [-(-problem.stem_width[0] // m)],
        [-(-width // m) for width in problem.per_stage("min_width")],
        np.ones(stages),
        np.zeros(stages),
        problem.per_stage("min_depth"),
    )
    high = (
        [problem.stem_width[-1] // m],
        width_high // m,
        np.maximum(1, np.floor(width_high * problem.inner_ratio[-1] / m + _SLACK)),
        [len(sizes) - 1 for sizes in choices],
        problem.per_stage("max_depth"),
    )
    return Lattice(
        low=np.concatenate(low).astype(np.float64),
        high=np.concatenate(high).astype(np.float64),
        multiple=np.float64(m),
        kernels=np.array(padded, dtype=np.float64),
        ratio_low=np.float64(problem.inner_ratio[0]),
        ratio_high=np.float64(problem.inner_ratio[-1]),
        fixed_ratio=np.float64(problem.fixed_ratio),
    )


def split(u: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Coordinates by kind: stem (...,), then width, inner, kernel, depth (..., S)."""
    at = Layout.of_size(u.shape[-1])
    return u[..., at.stem], u[..., at.width], u[..., at.inner], u[..., at.kernel], u[..., at.depth]


def inner_bounds(lattice: Lattice, width: Array) -> tuple[Array, Array]:
    """Least and greatest inner width that goes with each width, in channels.

    Where none does, the first exceeds the second.
    """
    xp = namespace(width, lattice.low)
    m = lattice.multiple
    least = xp.maximum(xp.ceil(width * lattice.ratio_low / m - _SLACK), 1.0) * m
    most = xp.floor(width * lattice.ratio_high / m + _SLACK) * m
    # A fixed ratio derives the inner width: it must be whole, but no multiple of m.
    exact = xp.rint(width * lattice.ratio_low)
    whole = (xp.abs(width * lattice.ratio_low - exact) < 1e-6) & (exact >= 1)
    fixed = lattice.fixed_ratio > 0
    # At least 1 also where there is none: a fan-in of 0 has no logarithm.
    least = xp.where(fixed, xp.maximum(exact, 1.0), least)
    return least, xp.where(fixed, xp.where(whole, exact, 0.0), most)


def to_point(lattice: Lattice, u: Array) -> Point:
    """The network at coordinates u; the inner width is brought into its bounds."""
    stem, width, inner, kernel, depth = split(u)
    width = width * lattice.multiple
    inner = _inner_within(lattice, width, inner * lattice.multiple)
    sizes = chosen(lattice.kernels, kernel)
    return Point(stem * lattice.multiple, width, inner, sizes, depth)


def chosen(table: Array, kernel: Array) -> Array:
    """Of each stage the entry at its index: table (S, K), indices and result (..., S).

    >>> chosen(np.array([[3, 5], [7, 9]]), np.array([1, 0]))
    array([5, 7])
    """
    xp = namespace(table, kernel)
    table, kernel = xp.asarray(table), xp.asarray(kernel)
    if xp is np:
        return table[np.arange(len(table)), kernel.astype(int)]
    # A few comparisons, which fuse with what is around them; a gather goes one by one.
    sizes = table[:, 0] + 0.0 * kernel
    for i in range(1, table.shape[1]):
        sizes = xp.where(kernel >= i, table[:, i], sizes)
    return sizes


def repair(lattice: Lattice, u: Array) -> Array:
    """The nearest coordinates inside all bounds (an inner width may still not exist)."""
    xp = namespace(u)
    u = xp.clip(u, lattice.low, lattice.high)
    stem, width, inner, kernel, depth = split(u)
    inner = repaired_inner(lattice, width, inner)
    return xp.concatenate([stem[..., None], width, inner, kernel, depth], axis=-1)


def repaired_inner(lattice: Lattice, width: Array, inner: Array) -> Array:
    """The nearest inner coordinates that go with those of the widths, same shape."""
    m = lattice.multiple
    free = _inner_within(lattice, width * m, inner * m) / m
    return namespace(free).where(lattice.fixed_ratio > 0, 1.0, free)


def _inner_within(lattice: Lattice, width: Array, inner: Array) -> Array:
    """Inner widths brought into the bounds that go with the widths, all in channels."""
    xp = namespace(width, lattice.low)
    least, most = inner_bounds(lattice, width)
    return xp.maximum(least, xp.minimum(inner, most))


def nearest(lattice: Lattice, point: Point) -> np.ndarray:
    """Coordinates of the lattice point nearest to real widths, kernels and depths."""
    m = lattice.multiple
    kernel = nearest_choices(lattice, np.asarray(point.kernel))
    parts = ([point.stem / m], point.width / m, point.inner / m, kernel, point.depth)
    return np.asarray(repair(lattice, np.rint(np.concatenate(parts))))


def nearest_choices(lattice: Lattice, kernel: np.ndarray) -> np.ndarray:
    """Indices of the choices nearest to real kernels and numbers of heads, both (S,)."""
    return np.abs(kernel[:, None] - lattice.kernels).argmin(-1)


def structural_violation(lattice: Lattice, monotone: Array, point: Point) -> Array:
    """How far, in units of m, widths shrink along the network or lack an inner width; 0 is fine."""
    xp = namespace(point.width)
    least, most = inner_bounds(lattice, point.width)
    before = xp.concatenate([point.stem[..., None], point.width[..., :-1]], axis=-1)
    shrink = xp.maximum(before - point.width, 0.0) / lattice.multiple
    return (least > most).sum(-1) + monotone * shrink.sum(-1)
