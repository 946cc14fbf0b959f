"""Simulated annealing on the integer lattice around the relaxed optimum, many chains at once.

The relaxed solution tells what each budget is worth, so the chains climb
``objective - 2 * sum_j lambda_j * excess_j``: an exact penalty with the relaxed multipliers, doubled.
Chains may cross infeasible ground, where single steps on the feasible lattice get stuck; each keeps
the best feasible point it has seen. One jitted loop serves all problems of a form.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmad_jax.design.entropy import Array
from deepmad_jax.design.lattice import Lattice, repair, structural_violation, to_point
from deepmad_jax.design.program import Data, Form, Numbers, evaluate


class Chains(NamedTuple):
    """The best feasible coordinates each chain has seen, (chains, 1 + 4 S), and their objective."""

    best: Array
    objective: Array


def excess(data: Data, numbers: Numbers) -> Array:
    """Overspent share of macs, params and rho, at least 0, shape (..., 3)."""
    spent = (numbers.macs / data.macs, numbers.params / data.params, numbers.rho / data.rho)
    return jnp.maximum(jnp.stack(spent, axis=-1) - 1.0, 0.0)


@partial(jax.jit, static_argnames=("form", "steps"))
def anneal(
    form: Form,
    data: Data,
    lattice: Lattice,
    start: Array,
    prices: Array,
    scale: Array,
    temperatures: Array,
    key: Array,
    *,
    steps: int,
) -> Chains:
    """The best feasible points of ``len(temperatures)`` chains of ``steps`` steps each.

    Args:
        form, data, lattice: the problem.
        start: coordinates at which chains begin, (1 + 4 S,) or (chains, 1 + 4 S).
        prices: nats that a full budget of macs, params, rho is worth, (3,).
        scale: typical size of a step in each coordinate, (1 + 4 S,).
        temperatures: nats at the start of each chain; they end at a hundredth.
        key: of the random numbers.
        steps: static.
    """
    chains, size = temperatures.shape[0], start.shape[-1]
    # A point out of structure has no meaning as a network; no temperature should accept many.
    structure_price = jnp.maximum(prices.sum(), 1.0)

    def merit(u: Array) -> tuple[Array, Array]:
        point = to_point(lattice, u)
        numbers = evaluate(form, data, point)
        over = excess(data, numbers)
        broken = structural_violation(lattice, form.monotone, point)
        value = numbers.objective - 2.0 * (over * prices).sum(-1) - structure_price * broken
        feasible = (over.sum(-1) <= 0) & (broken <= 0)
        return value, jnp.where(feasible, numbers.objective, -jnp.inf)

    def step(carry, i):  # type: ignore[no-untyped-def]
        u, value, best, best_value = carry
        keys = jax.random.split(jax.random.fold_in(key, i), 3)
        moved = jax.random.bernoulli(keys[0], 2.0 / size, (chains, size))
        jump = jnp.rint(jax.random.normal(keys[1], (chains, size)) * scale) * moved
        candidate = repair(lattice, u + jump)
        new_value, feasible_value = merit(candidate)
        temperature = temperatures * 0.01 ** (i / steps)
        accept = jnp.log(jax.random.uniform(keys[2], (chains,))) * temperature < new_value - value
        u = jnp.where(accept[:, None], candidate, u)
        value = jnp.where(accept, new_value, value)
        better = feasible_value > best_value
        best = jnp.where(better[:, None], candidate, best)
        return (u, value, best, jnp.where(better, feasible_value, best_value)), None

    u = repair(lattice, jnp.broadcast_to(start, (chains, size)))
    value, feasible_value = merit(u)
    carry, _ = jax.lax.scan(step, (u, value, u, feasible_value), jnp.arange(steps))
    return Chains(best=carry[2], objective=carry[3])
