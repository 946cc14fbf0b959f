"""The relaxed program, solved: where the augmented Lagrangian starts, and what it found.

`solve_relaxed` is the arrow Problem -> Solution. All of it runs on the CPU in float64, compiled
once for each form of problem.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.box import Box
from deepmad_jax.design.program.compiling import jit_soon_ready
from deepmad_jax.design.program.evaluate import Data, Form, Numbers, Point, spent
from deepmad_jax.design.program.prepared import Prepared, prepare
from deepmad_jax.design.program.problem import BUDGETS, Problem
from deepmad_jax.design.relaxation.lagrangian import MAX_VIOLATION, constrained_minimum, freeze
from deepmad_jax.design.relaxation.variables import constraints, relaxed_numbers, to_point

GAIN = 1e-6
"""Share of an objective by which another start's maximum is another."""


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
        starts: how many the solver began from, of which this one led farthest.
    """

    x: np.ndarray
    point: Point
    objective: float
    multipliers: np.ndarray
    prices: dict[str, float]
    violation: float
    converged: bool
    convergence: dict[str, list[float]]
    starts: int = 1


def solve_relaxed(problem: Problem) -> Solution:
    """The greatest maximum of the relaxed program that fixed starts lead to."""
    return relaxed_optimum(prepare(problem))


def relaxed_optimum(prepared: Prepared, start: np.ndarray | None = None) -> Solution:
    """`solve_relaxed` of a prepared problem, from another start where one is given."""
    if start is not None:
        return _solved(prepared, start)
    starts = (default_start(prepared), *_other_starts(prepared))
    solved = [_solved(prepared, start) for start in starts]
    converged = [found for found in solved if found.converged]
    if not converged:  # far outside the budgets the penalties can lead nowhere
        solved.append(_solved(prepared, _start_within(prepared)))
        converged = [min(solved, key=lambda found: 0.0 if found.converged else found.violation)]
    # Another start counts where it gains: where all lead to one maximum, that is the first's.
    best = converged[0]
    for found in converged[1:]:
        if found.objective > best.objective + GAIN * abs(best.objective):
            best = found
    return dataclasses.replace(best, starts=len(solved))


def _solved(prepared: Prepared, start: np.ndarray) -> Solution:
    form, data, box = prepared.form, prepared.data, prepared.box
    with jax.enable_x64(True):
        results = jax.tree.map(np.asarray, _solve(form, data, box, start))
        x, objective, violation, multipliers, scale, history = results
        point = Point(*(np.asarray(part) for part in to_point(jnp.asarray(x))))
        numbers = relaxed_numbers(form, data, x)
    return Solution(
        x=x,
        point=point,
        objective=float(objective),
        multipliers=multipliers * scale,
        prices=_prices(form, numbers, multipliers * scale),
        violation=float(violation),
        converged=bool(violation <= MAX_VIOLATION),
        convergence={
            name: [float(value) for value in values]
            for name, values in zip(("objective", "violation", "iterations"), history, strict=True)
        },
    )


def solve_at_depths(
    prepared: Prepared, solution: Solution, depths: np.ndarray
) -> list[tuple[float, Point]]:
    """Objective and point of the relaxed optimum at each vector of fixed depths, where solved.

    Args:
        prepared, solution: what was solved, and its optimum.
        depths: blocks of each stage, (vectors, S).
    """
    form, data, box = prepared.form, prepared.data, prepared.box
    where = prepared.layout.depth
    points = []
    for vector in depths:
        low, high, start = (np.array(part) for part in (box.low, box.high, solution.x))
        low[where] = high[where] = start[where] = np.log(vector)
        with jax.enable_x64(True):
            fixed = Box(low, high, box.log_least_inner)
            results = jax.tree.map(np.asarray, _solve(form, data, fixed, start))
        x, objective, violation, *_ = results
        if violation <= MAX_VIOLATION:
            point = Point(*to_point(x))
            points.append((float(objective), point))
    return points


def default_start(prepared: Prepared) -> np.ndarray:
    """The middle of the box in log space, at equal depths: a start that needs no luck, (1 + 4 S,).

    For 97 of 100 drawn problems it led to the greatest maximum of 20 starts; for the three others
    one of `_other_starts` did.
    """
    box, parts = prepared.box, prepared.layout
    start = np.array(0.5 * (box.low + box.high))
    start[parts.depth] = np.log(6.0)
    start[parts.stem] = np.log(32.0)
    start[parts.width] = np.linspace(np.log(32.0), np.log(512.0), parts.stages)
    return np.clip(start, box.low, box.high)


def _other_starts(prepared: Prepared) -> list[np.ndarray]:
    """Deep and narrow; shallow, and the wider the later: each where other maxima lie."""
    box, parts = prepared.box, prepared.layout
    deep, rising = default_start(prepared), default_start(prepared)
    deep[parts.width], deep[parts.depth] = box.low[parts.width], box.high[parts.depth]
    ends = box.low[parts.width][0], box.high[parts.width][-1]
    rising[parts.width], rising[parts.depth] = np.linspace(*ends, parts.stages), np.log(3.0)
    return [np.clip(start, box.low, box.high) for start in (deep, rising)]


def _start_within(prepared: Prepared) -> np.ndarray:
    """The default start, drawn towards the least widths and depths until it meets the budgets."""
    box, start = prepared.box, default_start(prepared)
    smallest = np.array(box.low)
    smallest[prepared.layout.inner] = start[prepared.layout.inner]
    share = np.linspace(1.0, 0.0, 41)[:, None]
    x = smallest + share * (start - smallest)
    numbers = relaxed_numbers(prepared.form, prepared.data, x)
    over = np.maximum(spent(prepared.data, numbers) - 1.0, 0.0).sum(-1)
    return x[int(over.argmin())]  # the first of the least


def _prices(form: Form, numbers: Numbers, multipliers: np.ndarray) -> dict[str, float]:
    """What the whole of each limit is worth; one limit may be several constraints, at the end."""
    counts = [extra.shape[-1] for extra in numbers.extra]
    last = np.split(multipliers[multipliers.size - sum(counts) :], np.cumsum(counts)[:-1])
    prices = dict(zip(BUDGETS, multipliers.tolist(), strict=False))
    return prices | {name: float(part.sum()) for name, part in zip(form.extras, last, strict=False)}


def _relaxed(form: Form, data: Data, box: Box, start: Array):  # type: ignore[no-untyped-def]
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
    x = jnp.clip(jnp.where(jnp.isfinite(found.x), found.x, start), box.low, box.high)
    history = (found.records, violations, found.iterations)
    return x, objective, violation, found.multipliers, scale, history


# It runs for a hundredth of the time that it takes to compile with LLVM's optimisation.
_solve = jit_soon_ready(_relaxed, level=0, static_argnames=("form",))
