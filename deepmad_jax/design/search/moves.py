"""Steps of annealed chains on the integer lattice, and the random numbers they are made of.

Single steps alone would freeze early where steps only pay together, so a step may also exchange a
block between two stages; pay for a block, a kernel or an inner width with its stage's widths; move
a run of equal widths as one, or make a width equal to its neighbour's (at equal widths `basic` and
`k1kx` save a projection).

Coordinates are kept part by part, with the chains last: the loops of XLA on a CPU then run over
many chains, and the concatenation of all parts would run one number at a time.
"""

from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.lattice import Lattice, chosen, repaired_inner, split
from deepmad_jax.design.program.layout import Layout


class Parts(NamedTuple):
    """Lattice coordinates, or steps of them: the stem's (chains,), the others (S, chains)."""

    stem: Array
    width: Array
    inner: Array
    kernel: Array
    depth: Array


class Noise(NamedTuple):
    """All random numbers of a run, drawn beforehand: the loop then compiles without a generator.

    Attributes:
        coordinate: the `MOST_MOVED` coordinates that each step moves, some perhaps by nothing,
            (steps, moved, chains), int8.
        jump: by how much, in sizes of a step: standard normal, or 0, same shape, float32.
        trade: exponent with which a stage's widths pay for what else changes in it, (steps,
            chains), float32; negative for not at all, and then equal widths move together, or
            below `EQUALISED` a width takes its neighbour's.
        log_uniform: logarithms of uniform numbers, (steps, chains), float32.
    """

    coordinate: np.ndarray
    jump: np.ndarray
    trade: np.ndarray
    log_uniform: np.ndarray


MOST_MOVED = 3
"""Coordinates that one step may move: one surely, each of the others with probability 1/2."""
LEAST_TRADE, EQUALISED, INNER_ALONE = -0.5, -0.35, 0.75
"""Trades lie evenly between the first and 1; see `Noise` and `moved` for the others."""
EXCHANGED = 0.2
"""Share of the steps that exchange depth between two stages instead."""


# 2.5 MB each, in a process that designs for the same number of stages again and again.
@lru_cache(maxsize=40)
def draw_noise(seed: int, steps: int, chains: int, size: int) -> Noise:
    """The noise of a seed."""
    rng = np.random.default_rng(seed)
    parts, shape = Layout.of_size(size), (steps, MOST_MOVED, chains)
    coordinate = rng.integers(size, size=shape, dtype=np.int8)
    jump = rng.standard_normal(shape, dtype=np.float32)
    jump[:, 1:] *= rng.random(jump[:, 1:].shape, dtype=np.float32) < 0.5
    if parts.stages > 1:
        step, chain = np.nonzero(rng.random((steps, chains), dtype=np.float32) < EXCHANGED)
        gains = rng.integers(parts.stages, size=step.size)
        loses = (gains + rng.integers(1, parts.stages, size=step.size)) % parts.stages
        depths = np.arange(size)[parts.depth]
        for i, (which, by) in enumerate(((gains, 0.5), (loses, -0.5), (gains, 0.0))):
            coordinate[step, i, chain], jump[step, i, chain] = depths[which], by
    trade = rng.uniform(LEAST_TRADE, 1.0, (steps, chains)).astype(np.float32)
    # 1 - random() lies in (0, 1], whose logarithm is finite.
    log_uniform = np.log1p(-rng.random((steps, chains), dtype=np.float32))
    return Noise(coordinate, jump, trade, log_uniform)


def parts_of(u: Array) -> Parts:
    """The parts of coordinates, (..., 1 + 4 S, chains)."""
    at = Layout.of_size(u.shape[-2])
    parts = (at.stem, at.width, at.inner, at.kernel, at.depth)
    return Parts(*(u[..., part, :] for part in parts))


def whole_steps(noise: Noise, scale: Array, cooling: Array) -> Array:
    """Steps of about ``scale``, at least one where a coordinate moves at all, as `Noise.jump`.

    Long steps find the region, single ones the optimum in it.

    Args:
        noise: see there.
        scale: typical size of a step in each coordinate at first, 0 for none, (1 + 4 S,); sizes
            above 1 shrink to 1.
        cooling: temperatures as shares of the first, (steps,).
    """
    sizes = scale.astype(jnp.float32)[noise.coordinate]
    sizes = jnp.where(sizes > 1, 1.0 + (sizes - 1.0) * cooling[:, None, None], sizes)
    whole = jnp.maximum(jnp.rint(jnp.abs(noise.jump) * sizes), 1.0)
    return jnp.where(sizes > 0, jnp.sign(noise.jump) * whole, 0.0).astype(jnp.float32)


def steps_of(coordinate: Array, jump: Array, size: int) -> Parts:
    """Steps of all ``size`` coordinates, from those that move, both (moved, chains)."""
    at = Layout.of_size(size)
    rows = np.arange(size, dtype=np.int8)

    def part(which: slice) -> Array:
        here = coordinate[:, None] == rows[which, None]
        return jnp.where(here, jump[:, None], 0.0).sum(0)

    stem, *others = map(part, (at.stem_alone, at.width, at.inner, at.kernel, at.depth))
    return Parts(stem[0], *others)


def moved(lattice: Lattice, at: Parts, step: Parts, trade: Array) -> Parts:
    """Coordinates after a step whose changes of depth, kernel and inner width widths pay for.

    A block or a kernel more costs percents of a budget, which no single step of a width makes up
    for: the stage's inner width is scaled by (before / after) ** trade of depth and kernel; above
    `INNER_ALONE` its width likewise, and by that of the inner width. Without trade, widths move as
    `_widths_moved` says. All end inside the lattice's bounds.
    """
    low, high = (Parts(*(x[..., None] for x in split(ends))) for ends in lattice[:2])
    depth = jnp.clip(at.depth + step.depth, low.depth, high.depth)
    kernel = jnp.clip(at.kernel + step.kernel, low.kernel, high.kernel)
    sizes = chosen(lattice.kernels, at.kernel.T).T, chosen(lattice.kernels, kernel.T).T
    log_cost = _log_ratio(depth * sizes[1], at.depth * sizes[0])
    log_inner = _log_ratio(jnp.maximum(at.inner + step.inner, 1.0), at.inner)
    exponent = jnp.maximum(trade, 0.0)
    # Widths that are equal or nearly so cannot follow: most trades are the inner width's alone.
    by_width = jnp.where(trade > INNER_ALONE, exponent, 0.0)
    width = at.width * jnp.exp(-by_width * (log_cost + log_inner))
    inner = at.inner * jnp.exp(-exponent * log_cost)

    before, more = (jnp.concatenate([x.stem[None], x.width]) for x in (at, step))
    more = jnp.where(trade > 0, more, _widths_moved(before, more, trade < EQUALISED))
    width = jnp.clip(jnp.rint(width) + more[1:], low.width, high.width)
    inner = jnp.clip(jnp.rint(inner) + step.inner, low.inner, high.inner)
    stem = jnp.clip(at.stem + more[0], low.stem, high.stem)
    return Parts(stem, width, repaired_inner(lattice, width, inner), kernel, depth)


def _log_ratio(a: Array, b: Array) -> Array:
    # Of float32, which suggests a step as well as another, in a fifth of the time.
    return jnp.log(a.astype(jnp.float32) / b.astype(jnp.float32))


def _widths_moved(before: Array, more: Array, equalised: Array) -> Array:
    """Steps of the widths, the stem's first, that keep equal widths equal or make them so.

    Args:
        before, more: widths and their steps, (1 + S, chains).
        equalised: where a width that moves takes its neighbour's, the next one's upward and the
            one before's downward; elsewhere a run of equal widths takes the steps of its members.
    """
    same = (before[1:] == before[:-1]).astype(more.dtype)
    from_left, from_right = [more[0]], [more[-1]]
    for i in range(len(same)):
        from_left.append(more[i + 1] + same[i] * from_left[-1])
        from_right.append(more[-i - 2] + same[-i - 1] * from_right[-1])
    together = jnp.stack(from_left) + jnp.stack(from_right[::-1]) - more
    left = jnp.concatenate([before[:1], before[:-1]])
    right = jnp.concatenate([before[1:], before[-1:]])
    neighbour = jnp.where(more > 0, right, jnp.where(more < 0, left, before))
    return jnp.where(equalised, neighbour - before, together)
