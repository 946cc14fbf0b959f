"""Simulated annealing on the integer lattice around the relaxed optimum, many chains at once.

The relaxed solution tells what each budget is worth, so the chains climb
``objective - 1.5 * sum_j lambda_j * excess_j``: an exact penalty with the relaxed multipliers,
raised by half. Chains may cross infeasible ground, where single steps on the feasible lattice get
stuck; each keeps the best feasible point it has seen. One jitted loop serves all problems of a
form.

Single steps alone would freeze early where steps only pay together, so a step may also exchange a
block between two stages; pay for a block, a kernel or an inner width with its stage's widths; move
a run of equal widths as one, or make a width equal to its neighbour's (at equal widths `basic` and
`k1kx` save a projection).
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.evaluate import REAL_SLACK, Data, Form, evaluate, spent
from deepmad_jax.design.program.lattice import (
    Lattice,
    chosen,
    repair,
    split,
    structural_violation,
    to_point,
)
from deepmad_jax.design.program.layout import Layout

STRICTNESS = 1.5
"""What overspending costs, in relaxed multipliers: above 1, or chains would leave the budgets."""


class Chains(NamedTuple):
    """Where each chain ended, with its merit, and the best feasible point it saw.

    Coordinates have shape (chains, 1 + 4 S), values (chains,); the objective is -inf where a chain
    saw no feasible point. Ends are often infeasible by parts in a thousand, and close to better
    feasible points than any the chain met.
    """

    last: Array
    merit: Array
    best: Array
    objective: Array


class Noise(NamedTuple):
    """All random numbers of a run, drawn beforehand: the loop then compiles without a generator.

    Attributes:
        jump: standard normal where a coordinate moves, else 0, (chains, steps, 1 + 4 S), float32.
        trade: exponent with which a stage's widths pay for what else changes in it, (chains,
            steps), float32; negative for not at all, and then equal widths move together, or
            below `EQUALISED` a width takes its neighbour's.
        log_uniform: logarithms of uniform numbers, (chains, steps), float32.
    """

    jump: np.ndarray
    trade: np.ndarray
    log_uniform: np.ndarray


MOST_MOVED = 3
"""Coordinates that one step may move: one surely, each of the others with probability 1/2."""
LEAST_TRADE, EQUALISED, INNER_ALONE = -0.5, -0.35, 0.75
"""Trades lie evenly between the first and 1; see `Noise` and `_moved` for the others."""
EXCHANGED = 0.2
"""Share of the steps that exchange depth between two stages instead."""


# The rounds of one search are few; a process that tries many seeds and forms forgets the oldest.
@lru_cache(maxsize=8)
def draw_noise(seed: int, steps: int, chains: int, size: int) -> Noise:
    """The noise of a seed."""
    rng = np.random.default_rng(seed)
    shape, count, parts = (chains, steps), chains * steps, Layout.of_size(size)
    stages, depths = parts.stages, np.arange(size)[parts.depth]
    jump = np.zeros((count, size), np.float32)
    for i in range(MOST_MOVED):
        moved = 1.0 if i == 0 else rng.random(count, dtype=np.float32) < 0.5
        length = rng.standard_normal(count, dtype=np.float32) * moved
        jump[np.arange(count), rng.integers(size, size=count)] += length
    if stages > 1:
        chosen = np.flatnonzero(rng.random(count, dtype=np.float32) < EXCHANGED)
        gains = rng.integers(stages, size=chosen.size)
        loses = (gains + rng.integers(1, stages, size=chosen.size)) % stages
        jump[chosen] = 0.0
        jump[chosen, depths[gains]] = 0.5
        jump[chosen, depths[loses]] = -0.5
    trade = rng.uniform(LEAST_TRADE, 1.0, shape).astype(np.float32)
    # 1 - random() lies in (0, 1], whose logarithm is finite.
    log_uniform = np.log1p(-rng.random(shape, dtype=np.float32))
    return Noise(jump.reshape(*shape, size), trade, log_uniform)


THREADS = 2
"""Parts that the chains are split into: fixed, so that the machine does not change the numbers."""


def anneal(
    form: Form,
    data: Data,
    lattice: Lattice,
    start: np.ndarray,
    prices: np.ndarray,
    scale: np.ndarray,
    temperatures: np.ndarray,
    noise: Noise,
) -> Chains:
    """Where each chain ended and the best feasible point it has seen, NumPy float64.

    Args:
        form, data, lattice: the problem.
        start: coordinates at which chains begin, (chains, 1 + 4 S).
        prices: nats that the whole of each limit is worth, in the order of `evaluate.spent`.
        scale: typical size of a step in each coordinate, 0 for none, (1 + 4 S,); sizes above 1
            shrink to 1 as the temperature falls.
        temperatures: nats at the start of each chain, (chains,); they end at a hundredth.
        noise: see `draw_noise`; its length is the number of steps.
    """

    def part(chains: slice) -> Chains:
        with jax.enable_x64(True):
            of_part = jax.tree.map(lambda leaf: leaf[chains], (start, temperatures, noise))
            result = _anneal(form, data, lattice, prices, scale, *of_part)
            return jax.tree.map(np.asarray, result)

    bounds = np.linspace(0, len(start), THREADS + 1).astype(int)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(part, [slice(a, b) for a, b in itertools.pairwise(bounds)])
        return Chains(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))


@partial(jax.jit, static_argnames=("form",))
def _anneal(
    form: Form,
    data: Data,
    lattice: Lattice,
    prices: Array,
    scale: Array,
    start: Array,
    temperatures: Array,
    noise: Noise,
) -> Chains:
    # A point out of structure has no meaning as a network; no temperature should accept many.
    structure_price = jnp.maximum(prices.sum(), 1.0)

    def merit(u: Array) -> tuple[Array, Array]:
        point = to_point(lattice, u)
        numbers = evaluate(form, data, point)
        over = jnp.maximum(spent(data, numbers) - 1.0, 0.0)
        broken = structural_violation(lattice, data.monotone, point)
        penalty = STRICTNESS * (over * prices).sum(-1) + structure_price * broken
        value = numbers.objective - penalty
        feasible = (over <= REAL_SLACK).all(-1) & (broken <= 0)
        return value, jnp.where(feasible, numbers.objective, -jnp.inf)

    def step(carry, inputs):  # type: ignore[no-untyped-def]
        u, value, best, best_value = carry
        jump, trade, log_uniform, cooling = inputs
        # Long steps find the region, single ones the optimum in it.
        size = jnp.where(scale > 1, 1.0 + (scale - 1.0) * cooling, scale)
        candidate = repair(lattice, _moved(lattice, u, _whole(jump, size), trade[:, None]))
        new_value, feasible_value = merit(candidate)
        accept = log_uniform * temperatures * cooling < new_value - value
        u = jnp.where(accept[:, None], candidate, u)
        value = jnp.where(accept, new_value, value)
        better = feasible_value > best_value
        best = jnp.where(better[:, None], candidate, best)
        return (u, value, best, jnp.where(better, feasible_value, best_value)), None

    steps = noise.jump.shape[1]
    u = repair(lattice, start)
    # The start is not evaluated apart, which would compile the program twice: no move improves on
    # minus infinity, so the first step is taken whatever it is.
    worst = jnp.full(u.shape[0], -jnp.inf)
    cooling = 0.01 ** (jnp.arange(steps) / steps)
    by_step = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), tuple(noise))
    carry, _ = jax.lax.scan(step, (u, worst, u, worst), (*by_step, cooling))
    return Chains(last=carry[0], merit=carry[1], best=carry[2], objective=carry[3])


def _whole(jump: Array, scale: Array) -> Array:
    """Whole steps of about ``scale``, at least one where a coordinate moves at all."""
    size = jnp.maximum(jnp.rint(jnp.abs(jump) * scale), 1.0)
    return jnp.where(scale > 0, jnp.sign(jump) * size, 0.0)


def _moved(lattice: Lattice, u: Array, jump: Array, trade: Array) -> Array:
    """u after a jump whose changes of depth, kernel and inner width are paid for with widths.

    A block or a kernel more costs percents of a budget, which no single step of a width makes up
    for: the stage's inner width is scaled by (before / after) ** trade of depth and kernel; above
    `INNER_ALONE` its width likewise, and by that of the inner width. Without trade, widths move as
    `_widths_moved` says.
    """
    stem, width, inner, kernel, depth = split(u)
    more_stem, more_width, more_inner, more_kernel, more_depth = split(jump)
    depth_after = jnp.maximum(depth + more_depth, 1.0)
    inner_after = jnp.maximum(inner + more_inner, 1.0)
    kernel_after = jnp.clip(kernel + more_kernel, 0, split(lattice.high)[3])
    log_kernels = jnp.log(lattice.kernels)
    log_cost = jnp.log(depth_after / depth)
    log_cost += chosen(log_kernels, kernel_after) - chosen(log_kernels, kernel)
    exponent = jnp.maximum(trade, 0.0)
    paid = jnp.exp(-exponent * log_cost)
    # Widths that are equal or nearly so cannot follow: most trades are the inner width's alone.
    wide = jnp.where(trade > INNER_ALONE, exponent, 0.0)
    paid_by_width = jnp.exp(-wide * (log_cost + jnp.log(inner_after / inner)))

    before = jnp.concatenate([stem[..., None], width], axis=-1)
    more = jnp.concatenate([more_stem[..., None], more_width], axis=-1)
    more = jnp.where(trade > 0, more, _widths_moved(before, more, trade < EQUALISED))
    parts = [
        before[..., :1] + more[..., :1],
        jnp.rint(width * paid_by_width) + more[..., 1:],
        jnp.rint(inner * paid) + more_inner,
        kernel_after,
        depth_after,
    ]
    return jnp.concatenate(parts, axis=-1)


def _widths_moved(before: Array, more: Array, equalised: Array) -> Array:
    """Steps of the widths, the stem's first, that keep equal widths equal or make them so.

    Args:
        before, more: widths and their steps, (chains, 1 + S).
        equalised: where a width that moves takes its neighbour's, the next one's upward and the
            one before's downward; elsewhere a run of equal widths takes the steps of its members.
    """
    changes = (before[..., 1:] != before[..., :-1]).astype(jnp.int32)
    run = jnp.cumsum(jnp.pad(changes, ((0, 0), (1, 0))), axis=-1)
    together = ((run[..., :, None] == run[..., None, :]) * more[..., None, :]).sum(-1)
    left = jnp.concatenate([before[..., :1], before[..., :-1]], axis=-1)
    right = jnp.concatenate([before[..., 1:], before[..., -1:]], axis=-1)
    neighbour = jnp.where(more > 0, right, jnp.where(more < 0, left, before))
    return jnp.where(equalised, neighbour - before, together)
