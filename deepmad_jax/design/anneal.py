"""Simulated annealing on the integer lattice around the relaxed optimum, many chains at once.

The relaxed solution tells what each budget is worth, so the chains climb
``objective - 1.5 * sum_j lambda_j * excess_j``: an exact penalty with the relaxed multipliers,
raised by half. Chains may cross infeasible ground, where single steps on the feasible lattice get
stuck; each keeps the best feasible point it has seen. One jitted loop serves all problems of a
form.

Single steps alone would freeze early where steps only pay together, so a step may also exchange a
block between two stages, pay for a block with its stage's widths, or move neighbours of equal width
as one (at equal widths `basic` and `k1kx` save a projection).
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.entropy import Array
from deepmad_jax.design.lattice import Lattice, repair, split, structural_violation, to_point
from deepmad_jax.design.program import Data, Form, evaluate, spent

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
        trade: exponent with which a stage's widths pay for its change of depth, (chains, steps),
            float32; 0 for not at all, and then neighbours of equal width move together.
        log_uniform: logarithms of uniform numbers, (chains, steps), float32.
    """

    jump: np.ndarray
    trade: np.ndarray
    log_uniform: np.ndarray


MOST_MOVED = 3
"""Coordinates that one step may move: one surely, each of the others with probability 1/2."""
EXCHANGED = 0.2
"""Share of the steps that exchange depth between two stages instead."""


# The rounds of one search are few; a process that tries many seeds and forms forgets the oldest.
@lru_cache(maxsize=8)
def draw_noise(seed: int, steps: int, chains: int, size: int) -> Noise:
    """The noise of a seed."""
    rng = np.random.default_rng(seed)
    shape, count, stages = (chains, steps), chains * steps, (size - 1) // 4
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
        jump[chosen, 1 + 3 * stages + gains] = 0.5
        jump[chosen, 1 + 3 * stages + loses] = -0.5
    trade = rng.uniform(-0.5, 1.0, shape).clip(0.0).astype(np.float32)
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
        prices: nats that the whole of each limit is worth, in the order of `program.spent`.
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
        broken = structural_violation(lattice, form.monotone, point)
        penalty = STRICTNESS * (over * prices).sum(-1) + structure_price * broken
        value = numbers.objective - penalty
        feasible = (over.sum(-1) <= 0) & (broken <= 0)
        return value, jnp.where(feasible, numbers.objective, -jnp.inf)

    def step(carry, inputs):  # type: ignore[no-untyped-def]
        u, value, best, best_value = carry
        jump, trade, log_uniform, cooling = inputs
        # Long steps find the region, single ones the optimum in it.
        size = jnp.where(scale > 1, 1.0 + (scale - 1.0) * cooling, scale)
        candidate = repair(lattice, _moved(u, _whole(jump, size), trade[:, None]))
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


def _moved(u: Array, jump: Array, trade: Array) -> Array:
    """u after a jump, each stage's widths scaled by (depth before / after) ** trade.

    A block more costs percents of a budget, which no single step of a width makes up for. Where
    there is no trade, a stage's move of width takes along a neighbour of equal width.
    """
    stem, width, inner, kernel, depth = split(u)
    more_stem, more_width, more_inner, more_kernel, more_depth = split(jump)
    after = jnp.maximum(depth + more_depth, 1.0)
    paid = jnp.exp(trade * jnp.log(depth / after))

    before = jnp.concatenate([stem[..., None], width], axis=-1)
    more = jnp.concatenate([more_stem[..., None], more_width], axis=-1)
    together = (before[..., 1:] == before[..., :-1]) & (trade == 0)
    none = jnp.zeros_like(more[..., :1])
    from_left = jnp.concatenate([none, jnp.where(together, more[..., :-1], 0.0)], axis=-1)
    from_right = jnp.concatenate([jnp.where(together, more[..., 1:], 0.0), none], axis=-1)
    more = more + from_left + from_right

    parts = [
        before[..., :1] + more[..., :1],
        jnp.rint(width * paid) + more[..., 1:],
        jnp.rint(inner * paid) + more_inner,
        kernel + more_kernel,
        after,
    ]
    return jnp.concatenate(parts, axis=-1)
