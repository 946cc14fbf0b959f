"""Simulated annealing on the integer lattice around the relaxed optimum, many chains at once.

The relaxed solution tells what each budget is worth, so the chains climb
``objective - 1.5 * sum_j lambda_j * excess_j``: an exact penalty with the relaxed multipliers,
raised by half. Chains may cross infeasible ground, where single steps on the feasible lattice get
stuck; each keeps the best feasible point it has seen. One jitted loop serves all problems of a
form.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.entropy import Array
from deepmad_jax.design.lattice import Lattice, repair, split, structural_violation, to_point
from deepmad_jax.design.program import Data, Form, Numbers, evaluate

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


def excess(data: Data, numbers: Numbers) -> Array:
    """Overspent share of macs, params and rho, at least 0, shape (..., 3)."""
    spent = (numbers.macs / data.macs, numbers.params / data.params, numbers.rho / data.rho)
    return jnp.maximum(jnp.stack(spent, axis=-1) - 1.0, 0.0)


class Noise(NamedTuple):
    """All random numbers of a run, drawn beforehand: the loop then compiles without a generator.

    Attributes:
        jump: standard normal where a coordinate moves, else 0, (steps, chains, 1 + 4 S), float32.
        trade: exponent with which a stage's widths pay for its change of depth, 0 for not at all,
            (steps, chains), float32.
        log_uniform: logarithms of uniform numbers, (steps, chains), float32.
    """

    jump: Array
    trade: Array
    log_uniform: Array


@cache
def draw_noise(seed: int, steps: int, chains: int, size: int) -> Noise:
    """The noise of a seed; about two coordinates move in each step."""
    rng = np.random.default_rng(seed)
    moved = rng.random((steps, chains, size), dtype=np.float32) < 2.0 / size
    jump = rng.standard_normal((steps, chains, size), dtype=np.float32) * moved
    trade = rng.uniform(-0.5, 1.0, (steps, chains)).clip(0.0).astype(np.float32)
    # 1 - random() lies in (0, 1], whose logarithm is finite.
    return Noise(jump, trade, np.log1p(-rng.random((steps, chains), dtype=np.float32)))


@partial(jax.jit, static_argnames=("form",))
def anneal(
    form: Form,
    data: Data,
    lattice: Lattice,
    start: Array,
    prices: Array,
    scale: Array,
    temperatures: Array,
    noise: Noise,
) -> Chains:
    """The best feasible point each chain has seen.

    Args:
        form, data, lattice: the problem.
        start: coordinates at which chains begin, (chains, 1 + 4 S).
        prices: nats that a full budget of macs, params, rho is worth, (3,).
        scale: typical size of a step in each coordinate, (1 + 4 S,).
        temperatures: nats at the start of each chain, (chains,); they end at a hundredth.
        noise: see `draw_noise`; its length is the number of steps.
    """
    # A point out of structure has no meaning as a network; no temperature should accept many.
    structure_price = jnp.maximum(prices.sum(), 1.0)

    def merit(u: Array) -> tuple[Array, Array]:
        point = to_point(lattice, u)
        numbers = evaluate(form, data, point)
        over = excess(data, numbers)
        broken = structural_violation(lattice, form.monotone, point)
        penalty = STRICTNESS * (over * prices).sum(-1) + structure_price * broken
        value = numbers.objective - penalty
        feasible = (over.sum(-1) <= 0) & (broken <= 0)
        return value, jnp.where(feasible, numbers.objective, -jnp.inf)

    def step(carry, inputs):  # type: ignore[no-untyped-def]
        u, value, best, best_value = carry
        jump, trade, log_uniform, cooling = inputs
        candidate = repair(lattice, _traded(u, jnp.rint(jump * scale), trade[:, None]))
        new_value, feasible_value = merit(candidate)
        accept = log_uniform * temperatures * cooling < new_value - value
        u = jnp.where(accept[:, None], candidate, u)
        value = jnp.where(accept, new_value, value)
        better = feasible_value > best_value
        best = jnp.where(better[:, None], candidate, best)
        return (u, value, best, jnp.where(better, feasible_value, best_value)), None

    steps = noise.jump.shape[0]
    u = repair(lattice, start)
    # The start is not evaluated apart, which would compile the program twice: no move improves on
    # minus infinity, so the first step is taken whatever it is.
    worst = jnp.full(u.shape[0], -jnp.inf)
    cooling = 0.01 ** (jnp.arange(steps) / steps)
    carry, _ = jax.lax.scan(step, (u, worst, u, worst), (*noise, cooling))
    return Chains(last=carry[0], merit=carry[1], best=carry[2], objective=carry[3])


def _traded(u: Array, jump: Array, trade: Array) -> Array:
    """u after a jump, each stage's widths scaled by (depth before / after) ** trade.

    A block more costs percents of a budget, which no single step of a width makes up for: without
    the trade, depths would freeze early.
    """
    _, width, inner, _, depth = split(u)
    _, more_width, more_inner, more_kernel, more_depth = split(jump)
    after = jnp.maximum(depth + more_depth, 1.0)
    paid = jnp.exp(trade * jnp.log(depth / after))
    parts = [
        (u + jump)[..., :1],
        jnp.rint(width * paid) + more_width,
        jnp.rint(inner * paid) + more_inner,
        split(u)[3] + more_kernel,
        after,
    ]
    return jnp.concatenate(parts, axis=-1)
