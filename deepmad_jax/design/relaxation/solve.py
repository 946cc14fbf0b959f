"""The relaxed program, solved: outer loop of the augmented Lagrangian, starts, stopping rule.

`solve_relaxed` is the arrow Problem -> Solution. All of it runs on the CPU in float64, compiled
once for each form of problem.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.evaluate import Data, Form, Numbers, Point, data_of, form_of
from deepmad_jax.design.program.problem import BUDGETS, Problem
from deepmad_jax.design.relaxation.lagrangian import (
    Box,
    augmented_lagrangian,
    box_of,
    constraints,
    freeze,
    relaxed_numbers,
    to_point,
    updated_multipliers,
)
from deepmad_jax.design.relaxation.lbfgs import minimise
from deepmad_jax.design.relaxation.starts import random_starts, shrink_to_budgets

OUTER_ITERATIONS = 10
FIRST_PENALTY, PENALTY_GROWTH = 10.0, 3.0
# A solved relaxation on the named problems ends at 1e-14; beyond this it counts as unsolved.
MAX_VIOLATION = 1e-6


@dataclasses.dataclass(frozen=True)
class Solution:
    """The relaxed optimum.

    Attributes:
        x: log variables (see `lagrangian`), shape (1 + 4 S,).
        point: the same as widths, inner widths, kernels and depths.
        objective: relaxed, nats.
        multipliers: of all constraints (see `lagrangian.constraints`), nats for a violation of 1.
        prices: nats that the whole of each budget is worth at the margin, by name.
        violation: greatest excess over a constraint, relative.
        converged: whether ``violation`` is negligible. Where it is not, the point still serves as a
            start for the integer search, which checks feasibility exactly.
        convergence: relaxed objective, violation and LBFGS iterations per outer iteration.
        starts: how many starts were tried.
    """

    x: np.ndarray
    point: Point
    objective: float
    multipliers: np.ndarray
    prices: dict[str, float]
    violation: float
    converged: bool
    convergence: dict[str, list[float]]
    starts: int


def solve_relaxed(problem: Problem, starts: int = 3) -> Solution:
    """The best of ``starts`` local maxima of the relaxed program.

    The first start is fixed and usually suffices; the others are drawn by ``problem.seed``.
    """
    form, data, box = form_of(problem), data_of(problem), box_of(problem)
    points = np.stack(
        [shrink_to_budgets(problem, box, x) for x in random_starts(problem, box, starts)]
    )
    with jax.enable_x64(True):
        boxes = Box(*(np.stack([part] * starts) for part in box))
        results = _solve_starts(form, data, boxes, points)
        x, objective, violation, multipliers, scale, history = jax.tree.map(np.asarray, results)
        solved = violation <= MAX_VIOLATION
        # The best solved start; where none is solved, the one that is least violated.
        best = int(
            np.where(solved, objective, -np.inf).argmax() if solved.any() else violation.argmin()
        )
        point = Point(*(np.asarray(part) for part in to_point(jnp.asarray(x[best]))))
        numbers = relaxed_numbers(form, data, x[best])
    return Solution(
        x=x[best],
        point=point,
        objective=float(objective[best]),
        multipliers=multipliers[best] * scale[best],
        prices=_prices(form, numbers, multipliers[best] * scale[best]),
        violation=float(violation[best]),
        converged=bool(solved[best]),
        convergence={
            name: [float(v) for v in values[best]]
            for name, values in zip(("objective", "violation", "iterations"), history, strict=True)
        },
        starts=starts,
    )


def solve_at_depths(
    problem: Problem, solution: Solution, depths: np.ndarray
) -> list[tuple[float, Point]]:
    """Objective and point of the relaxed optimum at each vector of fixed depths, where solved.

    Args:
        problem, solution: what was solved, and its optimum.
        depths: blocks of each stage, (vectors, S); solved as many at once as there were starts, so
            that nothing is compiled anew.
    """
    form, data, box = form_of(problem), data_of(problem), box_of(problem)
    at_once, where = solution.starts, slice(1 + 3 * problem.num_stages, None)
    points = []
    for first in range(0, len(depths), at_once):
        # The last vector fills up the last batch.
        some = np.minimum(np.arange(first, first + at_once), len(depths) - 1)
        low, high, x = (np.stack([part] * at_once) for part in (box.low, box.high, solution.x))
        low[:, where] = high[:, where] = x[:, where] = np.log(depths[some])
        boxes = Box(low, high, np.stack([box.log_least_inner] * at_once))
        with jax.enable_x64(True):
            solved = jax.tree.map(np.asarray, _solve_starts(form, data, boxes, x))
        points += [
            (float(solved[1][i]), Point(*(np.asarray(part) for part in to_point(solved[0][i]))))
            for i in range(min(at_once, len(depths) - first))
            if solved[2][i] <= MAX_VIOLATION
        ]
    return points


def _prices(form: Form, numbers: Numbers, multipliers: np.ndarray) -> dict[str, float]:
    """What the whole of each limit is worth; one limit may be several constraints, at the end."""
    counts = [extra.shape[-1] for extra in numbers.extra]
    last = np.split(multipliers[multipliers.size - sum(counts) :], np.cumsum(counts)[:-1])
    prices = dict(zip(BUDGETS, multipliers.tolist(), strict=False))
    return prices | {name: float(part.sum()) for name, part in zip(form.extras, last, strict=False)}


@partial(jax.jit, static_argnames=("form",))
def _solve_starts(form: Form, data: Data, boxes: Box, starts: Array):  # type: ignore[no-untyped-def]
    # In turn, not batched: a batch of line searches runs every branch for every start.
    return jax.lax.map(lambda each: _solve_one(form, data, *each), (boxes, starts))


def _solve_one(form: Form, data: Data, box: Box, start: Array):  # type: ignore[no-untyped-def]
    start = freeze(box, start)
    numbers = relaxed_numbers(form, data, start)
    scale = jnp.maximum(jnp.abs(numbers.entropy), 1.0)
    size = constraints(form, data, box, start, numbers).shape[0]

    def outer(carry, _):  # type: ignore[no-untyped-def]
        x, multipliers, penalty = carry
        lagrangian = partial(augmented_lagrangian, form, data, box, scale, multipliers, penalty)
        x, iterations = minimise(lagrangian, x, max_iterations=200, tolerance=1e-9)
        x = freeze(box, x)
        numbers = relaxed_numbers(form, data, x)
        g = constraints(form, data, box, x, numbers)
        multipliers = updated_multipliers(multipliers, penalty, g)
        record = (numbers.objective, jnp.maximum(g.max(), 0.0), iterations)
        return (x, multipliers, penalty * PENALTY_GROWTH), record

    first = (start, jnp.zeros(size), jnp.asarray(FIRST_PENALTY))
    (x, multipliers, _), history = jax.lax.scan(outer, first, length=OUTER_ITERATIONS)
    # A run that diverged reads as unsolved, not as NaN.
    objective = jnp.where(jnp.isfinite(history[0][-1]), history[0][-1], -jnp.inf)
    violation = jnp.where(jnp.isfinite(history[1][-1]), history[1][-1], jnp.inf)
    x = jnp.where(jnp.isfinite(x), x, start)
    return x, objective, violation, multipliers, scale, history
