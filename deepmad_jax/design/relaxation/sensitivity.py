"""How the relaxed optimum moves with each budget, by implicit differentiation of its conditions.

At the solution, with the active constraints g_A and their multipliers lambda_A, stationarity and
activity hold as the budgets b change::

    [ Hessian of the Lagrangian   A^T ] [ dx      / d log b ]     [ d (gradient) / d log b ]
    [ A                            0  ] [ dlambda / d log b ] = - [ d g_A        / d log b ]

with A the Jacobian of g_A. Valid while the active set stays as it is. The multipliers themselves,
the derivative of the optimal value, are `Solution.prices`; what a whole constraint costs,
`objectives_without` finds by solving again.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.evaluate import Point
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.program.problem import BUDGETS, Problem
from deepmad_jax.design.relaxation.solve import Solution, relaxed_optimum
from deepmad_jax.design.relaxation.variables import constraints, relaxed_numbers
from deepmad_jax.errors import UserError

# Relative to the greatest multiplier; solved multipliers are exact to about 1e-6.
ACTIVE = 1e-5


def elasticities(problem: Problem, solution: Solution) -> dict[str, Point]:
    """Percent by which each relaxed number moves for 1 % more of a budget, by the budget's name.

    Args:
        problem: what was solved.
        solution: its relaxed optimum.

    Returns:
        For macs, params and rho a `Point` of derivatives d log(number) / d log(budget): zero
        throughout where the budget does not bind.

    Raises:
        UserError: the relaxation was not solved, so there is nothing to differentiate.
    """
    if not solution.converged:
        raise UserError(
            "The relaxed problem was not solved to tolerance, so its sensitivities are unknown: "
            f"violation {solution.violation:.1e}. Loosen a budget or the bounds."
        )
    prepared = prepare(problem)
    form, data, box = prepared.form, prepared.data, prepared.box
    free = np.flatnonzero(box.high - box.low > 1e-12)

    def parts(x: Array, log_factor: Array) -> tuple[Array, Array]:
        factors = dict(zip(BUDGETS, jnp.exp(log_factor), strict=True))
        scaled = data._replace(**{name: getattr(data, name) * f for name, f in factors.items()})
        numbers = relaxed_numbers(form, scaled, x)
        return -numbers.objective, constraints(form, scaled, box, x, numbers)

    with jax.enable_x64(True):
        multipliers = jnp.asarray(solution.multipliers)
        at, none = jnp.asarray(solution.x), jnp.zeros(len(BUDGETS))

        def gradient(x: Array, log_factor: Array) -> Array:
            def lagrangian(x: Array) -> Array:
                value, g = parts(x, log_factor)
                return value + multipliers @ g

            return jax.grad(lagrangian)(x)

        def active_constraints(x: Array, log_factor: Array) -> Array:
            return parts(x, log_factor)[1]

        # One Jacobian each of the gradient and of the constraints, in x and in the budgets.
        hessian, cross = jax.jit(jax.jacfwd(gradient, (0, 1)))(at, none)
        jacobian, shift = jax.jit(jax.jacfwd(active_constraints, (0, 1)))(at, none)
    active = np.flatnonzero(solution.multipliers > ACTIVE * solution.multipliers.max())
    a = np.asarray(jacobian)[np.ix_(active, free)]
    h = np.asarray(hessian)[np.ix_(free, free)]
    # Balanced: the Hessian is in nats, the constraints are relative.
    weight = max(np.abs(h).max(), 1.0)
    zeros = np.zeros((active.size, active.size))
    matrix = np.block([[h / weight, a.T], [a, zeros]])
    right = -np.concatenate([np.asarray(cross)[free] / weight, np.asarray(shift)[active]])
    # Least squares: where no constraint holds a flat direction, nothing should move along it.
    moved = np.linalg.lstsq(matrix, right, rcond=1e-12)[0][: free.size]
    full = np.zeros((solution.x.size, len(BUDGETS)))
    full[free] = moved
    return {name: _as_point(full[:, i]) for i, name in enumerate(BUDGETS)}


def objectives_without(problem: Problem, solution: Solution) -> dict[str, float]:
    """Relaxed objective where one constraint alone is dropped, nats, by the constraint's name.

    For each limit that is set, and ``monotone``, guideline 3, where that is on: at least
    ``solution.objective``, and equal to it where the constraint does not bind.

    Args:
        problem: what was solved.
        solution: its relaxed optimum.
    """
    prepared = prepare(problem)
    data = prepared.data
    dropped = {
        name: data._replace(**{name: np.full_like(getattr(data, name), np.inf)})
        for name in BUDGETS
        if np.isfinite(getattr(problem, name))
    }
    for i, name in enumerate(problem.extras):
        limits = np.array(data.limits)
        limits[i] = np.inf
        dropped[name] = data._replace(limits=limits)
    if problem.monotone:
        dropped["monotone"] = data._replace(monotone=np.zeros_like(data.monotone))
    found = {}
    for name, less in dropped.items():
        freed = dataclasses.replace(prepared, data=less)
        ends = (relaxed_optimum(freed, start) for start in (None, solution.x))
        met = (end.objective for end in ends if end.converged)
        found[name] = max(met, default=solution.objective)
    return found


def _as_point(logs: np.ndarray) -> Point:
    """Derivatives of the log variables as those of the logs of a point's numbers."""
    at = Layout.of_size(logs.size)
    width, ratio = logs[at.width], logs[at.inner]
    return Point(logs[at.stem], width, width + ratio, logs[at.kernel], logs[at.depth])
