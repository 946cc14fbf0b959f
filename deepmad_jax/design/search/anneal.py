"""Simulated annealing on the integer lattice around the relaxed optimum, many chains at once.

The relaxed solution tells what each budget is worth, so the chains climb
``objective - 1.5 * sum_j lambda_j * excess_j``: an exact penalty with the relaxed multipliers,
raised by half. Chains may cross infeasible ground, where single steps on the feasible lattice get
stuck; each keeps the best feasible point it has seen. One jitted loop serves all problems of a
form; how a chain steps, `moves` says.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.evaluate import REAL_SLACK, Data, Form, evaluate, shares_spent
from deepmad_jax.design.program.lattice import Lattice, repair, structural_violation, to_point
from deepmad_jax.design.search.lanes import over_last
from deepmad_jax.design.search.moves import Noise, Parts, moved, parts_of, steps_of, whole_steps

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
        noise: see there; its length is the number of steps.
    """
    first = np.ascontiguousarray(np.asarray(repair(lattice, start)).T)

    def part(chains: slice) -> Chains:
        with jax.enable_x64(True):
            of_part = jax.tree.map(lambda leaf: leaf[..., chains], (first, temperatures, noise))
            result = _anneal(form, data, lattice, prices, scale, *of_part)
            return jax.tree.map(np.asarray, result)

    bounds = np.linspace(0, len(start), THREADS + 1).astype(int)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(part, [slice(a, b) for a, b in itertools.pairwise(bounds)])
        joined = Chains(*(np.concatenate(leaves, -1) for leaves in zip(*parts, strict=True)))
    return joined._replace(last=joined.last.T, best=joined.best.T)


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

    def merit(at: Parts) -> tuple[Array, Array]:
        point = to_point(lattice, _together(at))
        numbers = evaluate(form, data, point)
        over = [jnp.maximum(share - 1.0, 0.0) for share in shares_spent(data, numbers)]
        broken = structural_violation(lattice, data.monotone, point)
        overspent = sum(o * price for o, price in zip(over, prices, strict=True))
        penalty = STRICTNESS * overspent + structure_price * broken
        feasible = (reduce(jnp.maximum, over) <= REAL_SLACK) & (broken <= 0)
        value = numbers.objective - penalty
        return value, jnp.where(feasible, numbers.objective, -jnp.inf)

    worst = jnp.full_like(temperatures, -jnp.inf)
    # Always so. What goes through a condition XLA computes once; it would compute a candidate, or
    # its merit, anew for each number made of it.
    always = temperatures[0] == temperatures[0]

    def step(carry, inputs):  # type: ignore[no-untyped-def]
        at, value, best, best_value = carry
        coordinate, jump, trade, log_uniform, cooling = inputs
        candidate = moved(lattice, at, steps_of(coordinate, jump, len(scale)), trade)
        new_value, feasible_value = jax.lax.cond(
            always, over_last(merit), lambda _: (worst, worst), candidate
        )
        accept = log_uniform * temperatures * cooling < new_value - value
        at = jax.tree.map(partial(jnp.where, accept), candidate, at)
        value = jnp.where(accept, new_value, value)
        better = feasible_value > best_value
        best = jax.tree.map(partial(jnp.where, better), candidate, best)
        return (at, value, best, jnp.where(better, feasible_value, best_value)), None

    steps = noise.jump.shape[0]
    cooling = 0.01 ** (jnp.arange(steps) / steps)
    jumps = whole_steps(noise, scale, cooling)
    # The start is not evaluated apart, which would compile the program twice: no move improves on
    # minus infinity, so the first step is taken whatever it is.
    first = parts_of(start)
    inputs = (noise.coordinate, jumps, noise.trade, noise.log_uniform, cooling)
    carry, _ = jax.lax.scan(step, (first, worst, first, worst), inputs)
    last, merits, best, values = carry
    return Chains(_together(last), merits, _together(best), values)


def _together(at: Parts) -> Array:
    return jnp.concatenate([at.stem[None], *at[1:]])
