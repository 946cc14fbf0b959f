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
from deepmad_jax.design.certificate.bounds import Relaxation
from deepmad_jax.design.certificate.interior import Interior
from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.compiling import jit_soon_ready
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.posynomials import Posynomials

_ITERATIONS = 16
_REACHES = 2  # steps to where a coordinate reaches farthest
# A box may be split while its relaxed variables span more than this.
_SPLITTABLE = 1e-6
# Of two splits that take as much from the bound, that of a depth is worth more: once whole, its
# products are no longer relaxed.
_DEPTHS = 5.0
# Widths are split for their lattice's sake once all else leaves less than this share of the gap.
_SIZES_LAST = 0.1


class Boxes(NamedTuple):
    """A batch of boxes: ends as in `bounds.relaxation`, and the most that each H_m can be."""

    low: Array
    high: Array
    entropy_high: Array


class Bounded(NamedTuple):
    """Boxes bounded and shrunk, and where to split them: ``axis`` into x <= left, x >= right.

    ``x`` is about where their relaxations are greatest.
    """

    boxes: Boxes
    bound: Array
    x: Array
    axis: Array
    left: Array
    right: Array


@jit_soon_ready
def bound_boxes(
    program: Posynomials, incumbent: Array, boxes: Boxes, alpha: Array, beta: Array
) -> Bounded:
    one = partial(_bound_box, program, incumbent)
    return jax.vmap(one)(boxes, alpha, beta)


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
    # Whole ends again: `_split` counts on them.
    new_low, new_high = _snapped(program, new_low, new_high)
    empty = empty | (is_objective & (new_low > new_high + 1e-9).any())
    new_low = jnp.minimum(new_low, new_high)
    entropy_high = _entropy_high(program, box, bound, new_low, new_high)
    gap = jnp.maximum(bound - incumbent, 0.0)
    axis, left, right = _split(program, box, inside, alpha, gradient, gap, new_low, new_high)
    return Bounded(
        Boxes(new_low, new_high, jnp.where(is_objective, entropy_high, boxes.entropy_high)),
        jnp.where(empty, -jnp.inf, bound),
        inside.x[: program.layout.size],
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
    directions = _directions(size)
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


def _directions(unknowns: int) -> Array:
    """What each end of a box bounds, as a row of x, (1 + 5 S, 1 + 7 S)."""
    parts = Layout.of_size(unknowns, runs=7)
    each = jnp.eye(parts.ends, unknowns)
    return each.at[parts.log_inner].set(each[parts.width] + each[parts.inner])


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


def _split(
    program: Posynomials,
    box: Relaxation,
    inside: Interior,
    alpha: Array,
    gradient: Array,
    gap: Array,
    low: Array,
    high: Array,
) -> tuple[Array, Array, Array]:
    """Axis to split, and the ends of the two parts; -1 where nothing is left to split.

    Each axis is worth what a split takes from the bound: what its relaxed products add, and what
    moving to the nearest numbers of its lattice costs, of second order (`Interior.spread`).
    """
    parts = program.layout
    relaxed = _relaxed(program, box, inside, alpha, gradient, low, high)
    relaxed = jnp.clip(jnp.nan_to_num(relaxed, nan=0.0), 0.0, gap)
    directions = _directions(inside.x.shape[0])
    x = jnp.clip(directions @ inside.x, low, high)
    span = high - low
    below, above = _neighbours(program, x)
    spread = jnp.maximum(((directions @ inside.spread) * directions).sum(-1), 1e-300)
    down = jnp.where(below < low - 1e-9, gap, 0.5 * (x - below) ** 2 / spread)
    up = jnp.where(above > high + 1e-9, gap, 0.5 * (above - x) ** 2 / spread)
    lattice = jnp.minimum(jnp.stack([down, up]), gap).at[:, parts.depth].multiply(_DEPTHS)
    sizes = jnp.zeros_like(x).at[parts.channels].set(1.0).at[parts.log_inner].set(1.0)
    loose = (relaxed + lattice.mean(0) * (1.0 - sizes)).sum()
    lattice = lattice * jnp.where((sizes > 0) & (loose > _SIZES_LAST * gap), 1e-3, 1.0)

    splittable = span > _SPLITTABLE
    # The tiny share of the span decides where nothing is loose but the lattice.
    sides = jnp.minimum(relaxed + lattice, 3.0 * gap)
    scores = jnp.nan_to_num(5.0 * sides.min(0) + sides.max(0), nan=0.0) / 6.0
    scores = jnp.where(splittable, jnp.maximum(scores, 0.0) + 1e-9 * span, -1.0)
    axis = jnp.argmax(scores)
    to_lattice = (lattice.mean(0) > relaxed)[axis]
    is_depth = (axis >= parts.shape_size) & (axis < parts.size)
    at = jnp.clip(x[axis], low[axis] + 0.25 * span[axis], high[axis] - 0.25 * span[axis])
    at = jnp.where(to_lattice, 0.5 * (below + above)[axis], at)
    # Depths span decades: cut a wide range between its logs' quarters.
    ratio_of_ends = jnp.maximum(high[axis], 1.0) / jnp.maximum(low[axis], 1.0)
    whole = jnp.clip(
        x[axis],
        jnp.where(ratio_of_ends > 1.6, low[axis] * ratio_of_ends**0.3, low[axis]),
        jnp.where(ratio_of_ends > 1.6, low[axis] * ratio_of_ends**0.7, high[axis]),
    )
    whole = jnp.where(to_lattice, x[axis], whole)
    whole = jnp.clip(jnp.floor(whole + 1e-3), low[axis], high[axis] - 1.0)
    left = jnp.where(is_depth, whole, at)
    right = jnp.where(is_depth, whole + 1.0, at)
    return jnp.where(splittable.any(), axis, -1), left, right


def _neighbours(program: Posynomials, x: Array) -> tuple[Array, Array]:
    """The numbers next to x on each axis' lattice, (1 + 5 S,) each; x where there is none."""
    parts, near = program.layout, 1e-5
    below, above = x, x
    units = ((parts.widths, program.multiple), (parts.log_inner, program.inner_multiple))
    for of, unit in units:
        count = jnp.exp(x[of]) / unit
        below = below.at[of].set(jnp.log(jnp.maximum(jnp.floor(count + near), 0.5) * unit))
        above = above.at[of].set(jnp.log(jnp.maximum(jnp.ceil(count - near), 1.0) * unit))
    at, sizes = x[parts.kernel][:, None], program.log_kernels
    below = below.at[parts.kernel].set(jnp.where(sizes <= at + near, sizes, -jnp.inf).max(-1))
    above = above.at[parts.kernel].set(jnp.where(sizes >= at - near, sizes, jnp.inf).min(-1))
    below = below.at[parts.depth].set(jnp.floor(x[parts.depth] + near))
    above = above.at[parts.depth].set(jnp.ceil(x[parts.depth] - near))
    return jnp.minimum(below, x), jnp.maximum(above, x)


def _relaxed(
    program: Posynomials,
    box: Relaxation,
    inside: Interior,
    alpha: Array,
    gradient: Array,
    low: Array,
    high: Array,
) -> Array:
    """What each axis' relaxed products add to the bound, (1 + 5 S,)."""
    parts = program.layout
    logs = parts.shape
    width, ratio = parts.width, parts.inner
    depth = parts.depth
    x, span = jnp.clip(inside.x[: parts.size], low[: parts.size], high[: parts.size]), high - low
    level = program.level[:, :-1] @ x[logs] + program.level[:, -1]
    scores = jnp.zeros_like(low)

    # What each relaxed product adds to the objective at x: A T, whose level turns on its width
    # (column m of ``level`` names it), and n z.
    sums = bounds.level_sums(program, box, inside.x)
    over = alpha * (bounds.entropy_planes(program, box, inside.x, sums).min(0) - level * sums)
    scores = scores.at[logs].add(over @ program.level[:, :-1])
    before = (inside.x - box.low)[parts.of_stages].reshape(4, parts.stages)
    product = before[:3] * before[3]
    by = inside.multipliers.links
    linked = jnp.abs(by[0] + by[1] - by[2]) * jnp.abs(
        inside.x[parts.products].reshape(3, parts.stages) - product
    )
    scores = scores.at[depth].add(linked.sum(0)).at[parts.scaled].add(0.5 * linked.ravel())
    # What the tangent rises over the box: where the method did not settle, as with repeats near 0.
    rise = jnp.maximum(gradient * (box.low - inside.x), gradient * (box.high - inside.x))
    scores = scores.at[: parts.size].add(rise[: parts.size])
    by_stage = rise[parts.products].reshape(3, parts.stages).sum(0)
    scores = scores.at[depth].add(jnp.where(low[depth] < 0.5, 2.0 * by_stage, by_stage))
    # What the squeeze's secant leaves out of the costs.
    log_inner = x[width] + x[ratio]
    squeeze = box.log_squeeze[0] + box.log_squeeze[1] * log_inner
    true_squeeze = jnp.log(jnp.maximum(jnp.exp(log_inner) / 4.0 - program.squeeze_loss, 8.0))
    terms = bounds.term_values(program, box, inside.x) * (
        inside.multipliers.budgets @ program.coefficients
    )
    by_squeeze = terms @ program.squeezes
    squeezed = by_squeeze * jnp.expm1(jnp.clip(true_squeeze - squeeze, 0.0, 1.0))
    wider = span[width] >= span[ratio]
    scores = scores.at[width].add(jnp.where(wider, squeezed, 0.0))
    scores = scores.at[ratio].add(jnp.where(wider, 0.0, squeezed))
    # A conv that is counted and may not be there.
    merged = (alpha * level) @ program.reach * box.undecided
    merged = merged * (program.merge[:, :-1] @ x[logs] + program.merge[:, -1])
    before, after = span[: parts.stages], span[width]
    scores = scores.at[: parts.stages].add(jnp.where(before > after, merged, 0.0))
    scores = scores.at[width].add(jnp.where(before > after, 0.0, merged))
    return scores
