"""Integer designs: brute force on small lattices, r18's known optimum, exact budgets."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of, within_limits
from deepmad_jax.design.program.lattice import lattice_of, structural_violation, to_point
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.errors import InfeasibleProblem
from tests.design.problems import R18, TINY_SPACE, Problem

BEST_R18 = 64095.74  # SPEC section 5, long annealing


@pytest.fixture(scope="module")
def r18():
    return design_network(R18, "r18")


def assert_within_budgets(design):
    """Counts from the built architecture; rho and entropy from the per-architecture path."""
    problem, rows = design.problem, layer_table(design.architecture)
    levels = levels_of(design.architecture)
    assert cost.params(rows) <= problem.params
    assert cost.macs(rows) <= problem.macs
    assert levels[-1]["rho"] <= problem.rho * (1 + 1e-12)
    widths = [design.architecture.stem.width, *(s.width for s in design.architecture.stages)]
    if problem.monotone:
        assert widths == sorted(widths)
    for stage in design.architecture.stages:
        ratio = stage.inner / stage.width
        assert problem.inner_ratio[0] - 1e-9 <= ratio <= problem.inner_ratio[-1] + 1e-9
        assert stage.kernel in problem.kernels
        assert stage.width % problem.multiple_of == 0


def test_rounded_r18_meets_every_budget(r18):
    assert_within_budgets(r18)


def test_rounded_r18_is_close_to_the_best_known(r18):
    assert r18.numbers.objective >= 0.999 * BEST_R18


def test_the_readme_shows_the_design_that_is_found(r18):
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    numbers = r18.numbers
    for value in (f"{numbers.objective:,.2f}", f"{numbers.params:,.0f}", f"{numbers.macs:,.0f}"):
        assert value in readme


def test_design_file_holds_the_programs_numbers(r18):
    data = r18.to_dict()
    levels = levels_of(r18.architecture)
    weighted = sum(a * level["entropy"] for a, level in zip((1, 1, 1, 1, 8), levels, strict=True))
    assert data["entropy"] == pytest.approx(weighted, rel=1e-12)
    assert data["objective"] == pytest.approx(weighted - data["depth_penalty"], rel=1e-12)
    assert data["params"] == cost.params(layer_table(r18.architecture))
    assert data["upper_bound"] is None
    assert data["gap"] is None


def test_two_processes_give_the_same_bytes(r18):
    code = (
        "from deepmad_jax.design.designer import design_network\n"
        "from tests.design.problems import R18\n"
        "print(design_network(R18, 'r18').architecture.to_json(), end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == r18.architecture.to_json()


def every_network(problem):
    """All points of the lattice, as networks, and their objectives, -inf where infeasible."""
    lattice = lattice_of(problem)
    ranges = [np.arange(a, b + 1) for a, b in zip(lattice.low, lattice.high, strict=True)]
    u = np.array(list(itertools.product(*ranges)))
    point = to_point(lattice, u)
    numbers = evaluate(form_of(problem), data_of(problem), point)
    feasible = (structural_violation(lattice, problem.monotone, point) == 0) & within_limits(
        form_of(problem), data_of(problem), numbers
    )
    return point, np.where(feasible, numbers.objective, -np.inf)


def brute_force(problem):
    """The greatest objective over every feasible point of the lattice; -inf where there is none."""
    return float(every_network(problem)[1].max())


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    macs=st.floats(1e5, 3e6),
    params=st.floats(1e3, 3e4),
    rho=st.floats(0.05, 1.0),
    beta=st.sampled_from([0.0, 10.0]),
    last_weight=st.sampled_from([1.0, 8.0]),
)
def test_tiny_problems_reach_the_brute_force_optimum(macs, params, rho, beta, last_weight):
    problem = Problem(
        **TINY_SPACE, macs=macs, params=params, rho=rho, beta=beta, alpha=(1.0, last_weight)
    )
    best = brute_force(problem)
    if best == -np.inf:
        with pytest.raises(InfeasibleProblem):
            design_network(problem)
        return
    design = design_network(problem)
    assert_within_budgets(design)
    # The objective is near zero or negative on the poorest budgets: compare on its scale.
    assert design.numbers.objective >= best - 1e-9 * abs(best)


def test_a_space_of_one_network_gives_that_network():
    problem = Problem(
        block="basic",
        strides=(2,),
        kernels=(3,),
        inner_ratio=(1.0,),
        stem_width=(8,),
        min_width=(8,),
        max_width=(8,),
        min_depth=(2,),
        max_depth=(2,),
        resolution=32,
    )
    design = design_network(problem)
    stage = design.architecture.stages[0]
    assert (stage.width, stage.inner, stage.kernel, stage.depth) == (8, 8, 3, 2)
