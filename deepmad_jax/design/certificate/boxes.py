"""One step of the branch and bound, for many boxes at once: move ends onto the lattice, bound,
shrink to where networks better than the incumbent can lie, and say where to split.

Compiled once for each shape of program and batch.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmad_jax.design.certificate import bounds, interior
from deepmad_jax.design.certificate.bounds import Multipliers, Relaxation
from deepmad_jax.design.certificate.interior import Interior
from deepmad_jax.design.certificate.splitting import directions_of, split
from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.compiling import jit_soon_ready
from deepmad_jax.design.program.posynomials import Posynomials

_ITERATIONS = 16
_REACHES = 2  # steps to where a coordinate reaches farthest


class Boxes(NamedTuple):
    """A batch of boxes: ends as in `bounds.relaxation`, and the most that each H_m can be."""

    low: Array
    high: Array
    entropy_high: Array


class Bounded(NamedTuple):
    """Boxes bounded and shrunk, and where to split them: ``axis`` into x <= left, x >= right.

    ``x`` is about where their relaxations are greatest, ``multipliers`` what bounded them.
    """

    boxes: Boxes
    bound: Array
    x: Array
    multipliers: Multipliers
    axis: Array
    left: Array
    right: Array


def _bound_boxes(
    program: Posynomials, incumbent: Array, boxes: Boxes, alpha: Array, beta: Array
) -> Bounded:
    one = partial(_bound_box, program, incumbent)
    return jax.vmap(one)(boxes, alpha, beta)


bound_few = jit_soon_ready(_bound_boxes, level=0)
bound_many = jit_soon_ready(_bound_boxes, level=1)


def _bound_box(
    program: Posynomials, incumbent: Array, boxes: Boxes, alpha: Array, beta: Array
) -> Bounded:
    """Bounds one box for the objective of weights ``alpha`` and ``beta``."""
    low, high = _near_in_depth(program, incumbent, boxes)
    low, high = _snapped(program, low, high)
    empty = (low > high + 1e-9).any()
    low = jnp.minimum(low, high)
    # A network that beats the incumbent has at least what the other levels leave for this one.
    most = program.alpha * boxes.entropy_high
    penalty = program.beta * jnp.exp(jnp.minimum(_least_variance(program, low, high), 600.0))
    least = incumbent + penalty - (most.sum() - most)
    entropy_low = jnp.where(
        program.alpha > 0, least / jnp.where(program.alpha > 0, program.alpha, 1.0), 0.0
    )
    box = bounds.relaxation(program, low, high, entropy_low * (1.0 - 1e-12), boxes.entropy_high)
    empty = empty | (entropy_low > boxes.entropy_high * (1.0 + 1e-9)).any()
    empty = empty | (entropy_low > box.level_high * box.sum_high * (1.0 + 1e-9)).any()
    inside = interior.solve(program, box, alpha, beta, _ITERATIONS)

    slack = bounds.rounding(program, box, inside.multipliers)

    def upper(x: Array) -> Array:
        return bounds.lagrangian(program, box, alpha, beta, inside.multipliers, x) + slack

    value, gradient = jax.value_and_grad(upper)(inside.x)
    bound = bounds.tangent_bound(value, gradient, inside.x, box.low, box.high)
    is_objective = beta == program.beta
    is_objective = is_objective & (alpha == program.alpha).all()
    new_low, new_high = _shrunk(program, upper, inside, box, (value, gradient), bound, incumbent)
    new_low = jnp.where(is_objective, new_low, low)
    new_high = jnp.where(is_objective, new_high, high)
    # Whole ends again: `split` counts on them.
    new_low, new_high = _snapped(program, new_low, new_high)
    empty = empty | (is_objective & (new_low > new_high + 1e-9).any())
    new_low = jnp.minimum(new_low, new_high)
    entropy_high = _entropy_high(program, box, bound, new_low, new_high)
    gap = jnp.maximum(bound - incumbent, 0.0)
    axis, left, right = split(program, box, inside, alpha, gradient, gap, new_low, new_high)
    return Bounded(
        Boxes(new_low, new_high, jnp.where(is_objective, entropy_high, boxes.entropy_high)),
        jnp.where(empty, -jnp.inf, bound),
        inside.x[: program.layout.size],
        inside.multipliers,
        axis,
        left,
        right,
    )


def _snapped(program: Posynomials, low: Array, high: Array) -> tuple[Array, Array]:
    """The box with ends moved inward onto the lattice, and widths that do not shrink."""
    parts, slack = program.layout, 1e-7
    width, ratio, inner = parts.widths, parts.inner, parts.log_inner
    kernel = parts.kernel
    depth = parts.depth
    m, sizes = program.multiple, program.log_kernels
    # Width, ratio and inner width bound each other; each then moves onto its own lattice.
    width_low = low[width].at[1:].max(low[inner] - high[ratio])
    width_high = high[width].at[1:].min(high[inner] - low[ratio])
    width_low = jnp.where(program.monotone > 0, jax.lax.cummax(width_low), width_low)
    width_high = jnp.where(
        program.monotone > 0, jax.lax.cummin(width_high, reverse=True), width_high
    )
    width_low = jnp.log(jnp.maximum(jnp.ceil(jnp.exp(width_low) / m - slack), 1.0) * m)
    width_high = jnp.log(jnp.maximum(jnp.floor(jnp.exp(width_high) / m + slack), 0.5) * m)
    kernel_low = jnp.where(sizes >= low[kernel][:, None] - slack, sizes, jnp.inf).min(-1)
    kernel_high = jnp.where(sizes <= high[kernel][:, None] + slack, sizes, -jnp.inf).max(-1)
    # No kernel left: any crossed pair that stays finite says so.
    none = kernel_low > kernel_high
    kernel_low = jnp.where(none, sizes[:, -1] + 1.0, kernel_low)
    kernel_high = jnp.where(none, sizes[:, 0], kernel_high)
    # Inner widths are whole numbers of their own unit; with the width settled, so is the ratio.
    stage_low, stage_high, unit = width_low[1:], width_high[1:], program.inner_multiple
    inner_low = jnp.exp(jnp.maximum(low[inner], stage_low + low[ratio]))
    inner_high = jnp.exp(jnp.minimum(high[inner], stage_high + high[ratio]))
    inner_low = jnp.maximum(jnp.ceil(inner_low / unit * (1.0 - slack)), 1.0) * unit
    inner_high = jnp.maximum(jnp.floor(inner_high / unit * (1.0 + slack)), 0.5) * unit
    inner_low, inner_high = jnp.log(inner_low), jnp.log(inner_high)
    low = low.at[ratio].max(inner_low - stage_high).at[inner].set(inner_low)
    high = high.at[ratio].min(inner_high - stage_low).at[inner].set(inner_high)
    low = low.at[width].set(width_low).at[kernel].set(kernel_low)
    high = high.at[width].set(width_high).at[kernel].set(kernel_high)
    low = low.at[depth].set(jnp.ceil(low[depth] - slack))
    high = high.at[depth].set(jnp.floor(high[depth] + slack))
    return low, high


def _near_in_depth(program: Posynomials, incumbent: Array, boxes: Boxes) -> tuple[Array, Array]:
    """The box without depths so far apart that the penalty takes more than the entropy leaves."""
    parts = program.layout
    depth = parts.depth
    low, high = boxes.low[depth], boxes.high[depth]
    spare = jnp.maximum(program.alpha @ boxes.entropy_high - incumbent, 0.0)
    penalised = program.beta > 0
    variance = jnp.log(jnp.maximum(spare / jnp.where(penalised, program.beta, 1.0), 1.0))
    # Two depths d apart alone give the variance d^2 / (2 S).
    apart = jnp.where(penalised, jnp.sqrt(2.0 * parts.stages * variance) + 1e-6, 1e9)
    return (
        boxes.low.at[depth].set(jnp.maximum(low, low.max() - apart)),
        boxes.high.at[depth].set(jnp.minimum(high, high.min() + apart)),
    )


def _least_variance(program: Posynomials, low: Array, high: Array) -> Array:
    """The least Var of depths over the box: min over c of the mean squared distance to c."""
    parts = program.layout
    low, high = low[parts.depth], high[parts.depth]

    def away(c: Array) -> Array:
        return jnp.maximum(low - c, 0.0) - jnp.maximum(c - high, 0.0)

    def halve(_, ends):  # type: ignore[no-untyped-def]
        middle = 0.5 * (ends[0] + ends[1])
        up = away(middle).sum() > 0
        return jnp.where(up, middle, ends[0]), jnp.where(up, ends[1], middle)

    c, _ = jax.lax.fori_loop(0, 60, halve, (low.min(), high.max()))
    return jnp.maximum((away(c) ** 2).mean() - 1e-9, 0.0)


def _shrunk(
    program: Posynomials,
    upper: Callable[[Array], Array],
    inside: Interior,
    box: Relaxation,
    at_middle: tuple[Array, Array],
    bound: Array,
    incumbent: Array,
) -> tuple[Array, Array]:
    """The part of the box where ``upper`` can exceed the incumbent, coordinate by coordinate.

    ``at_middle`` is its value and gradient at ``inside.x``.

    For any w > 0, x_k <= max over the box of x_k + w (upper(x) - incumbent), bounded by a tangent.
    """
    gap = jnp.maximum(bound - incumbent, 1e-9 * jnp.abs(incumbent) + 1e-9)
    low, high, size = box.low, box.high, box.low.shape[0]
    directions = directions_of(size)
    inverse, by_value = inside.inverse, jax.value_and_grad(upper)

    def reach(direction: Array) -> Array:
        variance = jnp.maximum(direction @ inverse @ direction, 1e-12)
        weight = jnp.sqrt(variance / (2.0 * gap))

        def step(_, at):  # type: ignore[no-untyped-def]
            x, _, gradient = at
            x = bounds.above_zero(box, x + inverse @ (direction / weight + gradient))
            return x, *by_value(x)

        start = (inside.x, *at_middle)
        x, value, gradient = jax.lax.fori_loop(0, _REACHES, step, start)
        total = direction + weight * gradient
        most = jnp.maximum(total * (low - x), total * (high - x)).sum()
        at = direction @ x + weight * (value - incumbent) + most
        at = at + 1e-9 * (1.0 + jnp.abs(most) + weight * (jnp.abs(value) + jnp.abs(incumbent)))
        return jnp.where(jnp.isnan(at), jnp.inf, at)

    at_most = jax.vmap(reach)(jnp.concatenate([directions, -directions]))
    count = directions.shape[0]
    ends_low, ends_high = _ends(program, box)
    return jnp.maximum(ends_low, -at_most[count:]), jnp.minimum(ends_high, at_most[:count])


def _ends(program: Posynomials, box: Relaxation) -> tuple[Array, Array]:
    """The box as `Boxes` writes it, (1 + 5 S,) each."""
    size = program.layout.size
    return (
        jnp.concatenate([box.low[:size], box.inner_low]),
        jnp.concatenate([box.high[:size], box.inner_high]),
    )


def _entropy_high(
    program: Posynomials, box: Relaxation, bound: Array, low: Array, high: Array
) -> Array:
    """The most each H_m can be, given that no objective exceeds ``bound``."""
    depth = program.layout.depth
    # Var is convex: at most what two opposite ends leave, (range / 2)^2.
    spread = high[depth].max() - low[depth].min()
    penalty = program.beta * jnp.exp(jnp.minimum(0.25 * spread**2, 600.0))
    least = program.alpha * box.entropy_low
    positive = jnp.where(program.alpha > 0, program.alpha, 1.0)
    most = (bound + penalty - (least.sum() - least)) / positive
    return jnp.minimum(
        box.entropy_high, jnp.where(program.alpha > 0, most * (1.0 + 1e-12), jnp.inf)
    )
