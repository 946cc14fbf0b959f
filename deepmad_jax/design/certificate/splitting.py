"""Where the branch and bound splits a box: the coordinate that takes most from its bound."""

import jax.numpy as jnp

from deepmad_jax.design.certificate import bounds
from deepmad_jax.design.certificate.bounds import Relaxation
from deepmad_jax.design.certificate.interior import Interior
from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.posynomials import Posynomials

# A box may be split while its relaxed variables span more than this.
_SPLITTABLE = 1e-6
# Of two splits that take as much from the bound, that of a depth is worth more: once whole, its
# products are no longer relaxed.
_DEPTHS = 5.0
# Widths are split for their lattice's sake once all else leaves less than this share of the gap.
_SIZES_LAST = 0.1


def split(
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
    directions = directions_of(inside.x.shape[0])
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


def directions_of(unknowns: int) -> Array:
    """What each end of a box bounds, as a row of x, (1 + 5 S, 1 + 7 S)."""
    parts = Layout.of_size(unknowns, runs=7)
    each = jnp.eye(parts.ends, unknowns)
    return each.at[parts.log_inner].set(each[parts.width] + each[parts.inner])


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
    true_squeeze = bounds.log_squeeze(program, log_inner)
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
