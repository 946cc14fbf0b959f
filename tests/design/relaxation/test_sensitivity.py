"""Implicit derivatives of the relaxed optimum against re-solved finite differences."""

import dataclasses

import numpy as np
import pytest

from deepmad_jax.design.relaxation.sensitivity import elasticities, objectives_without
from deepmad_jax.design.relaxation.solve import solve_relaxed
from deepmad_jax.errors import UserError
from tests.design.problems import R18, TINY_SPACE, Problem

# All budgets bind, and so do the least inner ratio and some monotone widths.
PROBLEMS = {"r18": R18, "tiny": Problem(**TINY_SPACE, macs=5e5, params=6e3, rho=0.5)}


def flat(point):
    return np.concatenate([np.atleast_1d(np.asarray(part)) for part in point])


@pytest.mark.parametrize("name", PROBLEMS)
def test_elasticities_agree_with_the_re_solved_problem_within_two_percent(name):
    problem = PROBLEMS[name]
    ours = elasticities(problem, solve_relaxed(problem))
    for budget in ("macs", "params", "rho"):
        up, down = (
            np.log(
                flat(
                    solve_relaxed(
                        dataclasses.replace(problem, **{budget: getattr(problem, budget) * f})
                    ).point
                )
            )
            for f in (1.002, 1 / 1.002)
        )
        differences = (up - down) / (2 * np.log(1.002))
        # Each within 2 %; what does not move comes out as differences of 1e-9-exact solves.
        np.testing.assert_allclose(flat(ours[budget]), differences, rtol=0.02, atol=1e-4)


def test_a_budget_that_does_not_bind_moves_nothing():
    problem = dataclasses.replace(R18, macs=1e12)
    moved = elasticities(problem, solve_relaxed(problem))
    np.testing.assert_allclose(flat(moved["macs"]), 0.0, atol=1e-6)
    assert np.abs(flat(moved["params"])).max() > 0.1


def test_an_unsolved_relaxation_has_no_sensitivities():
    solution = dataclasses.replace(solve_relaxed(R18), converged=False)
    with pytest.raises(UserError, match="not solved"):
        elasticities(R18, solution)


def test_without_a_constraint_the_relaxed_optimum_is_that_of_the_problem_without_it():
    problem = dataclasses.replace(R18, layers=70.0)
    found = objectives_without(problem, solve_relaxed(problem))
    assert list(found) == ["macs", "params", "rho", "layers", "monotone"]
    for name in ("macs", "params", "rho", "layers"):
        free = solve_relaxed(dataclasses.replace(problem, **{name: np.inf}))
        assert free.converged
        # Two runs of the solver end within its tolerance of each other.
        assert found[name] == pytest.approx(free.objective, rel=1e-4)


def test_a_constraint_that_does_not_bind_costs_nothing():
    problem = dataclasses.replace(R18, macs=1e12, layers=1e6)
    solution = solve_relaxed(problem)
    found = objectives_without(problem, solution)
    for name in ("macs", "layers"):
        assert found[name] == pytest.approx(solution.objective, rel=1e-6)
    assert found["params"] > 1.01 * solution.objective
