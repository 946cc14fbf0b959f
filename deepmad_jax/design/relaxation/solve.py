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
from deepmad_jax.design.program.box import Box
from deepmad_jax.design.program.evaluate import Data, Form, Numbers, Point
from deepmad_jax.design.program.prepared import Prepared, prepare
from deepmad_jax.design.program.problem import BUDGETS, Problem
from deepmad_jax.design.relaxation.lagrangian import MAX_VIOLATION, constrained_minimum, freeze
from deepmad_jax.design.relaxation.starts import random_starts, shrink_to_budgets
from deepmad_jax.design.relaxation.variables import constraints, relaxed_numbers, to_point


@dataclasses.dataclass(frozen=True)
class Solution:
    """The relaxed optimum.

    Attributes:
        x: log variables (see `variables`), shape (1 + 4 S,).
        point: the same as widths, inner widths, kernels and depths.
        objective: relaxed, nats.
        multipliers: of all constraints (see `variables.constraints`), nats for a violation of 1.
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
    return relaxed_optimum(prepare(problem), starts)


def relaxed_optimum(prepared: Prepared, starts: int) -> Solution:
    """`solve_relaxed` of a prepared problem."""
    form, data, box = prepared.form, prepared.data, prepared.box
    points = np.stack([shrink_to_budgets(prepared, x) for x in random_starts(prepared, starts)])
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
    prepared: Prepared, solution: Solution, depths: np.ndarray
) -> list[tuple[float, Point]]:
    """Objective and point of the relaxed optimum at each vector of fixed depths, where solved.

    Args:
        prepared, solution: what was solved, and its optimum.
        depths: blocks of each stage, (vectors, S); solved as many at once as there were starts, so
            that nothing is compiled anew.
    """
    form, data, box = prepared.form, prepared.data, prepared.box
    at_once, where = solution.starts, prepared.layout.depth
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
    # The entropy there makes the objective about 1.
    scale = jnp.maximum(jnp.abs(relaxed_numbers(form, data, start).entropy), 1.0)

    def program(x: Array) -> tuple[Array, Array, Array]:
        numbers = relaxed_numbers(form, data, x)
        g = constraints(form, data, box, x, numbers)
        return -numbers.objective / scale, g, numbers.objective

    found = constrained_minimum(program, box, start)
    violations = jnp.maximum(found.violations, 0.0)
    last, violation = found.records[-1], violations[-1]
    # A run that diverged reads as unsolved, not as NaN.
    objective = jnp.where(jnp.isfinite(last), last, -jnp.inf)
    violation = jnp.where(jnp.isfinite(violation), violation, jnp.inf)
    x = jnp.where(jnp.isfinite(found.x), found.x, start)
    history = (found.records, violations, found.iterations)
    return x, objective, violation, found.multipliers, scale, history
