"""Infeasible budgets raise one error that names the constraint, the reachable value, the remedy."""

import itertools
import re

import numpy as np
import pytest

from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of
from deepmad_jax.design.program.feasible import least_rho
from deepmad_jax.design.program.lattice import lattice_of, to_point
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.errors import InfeasibleProblem
from tests.design.problems import R18, TINY_SPACE, Problem


def refusal(**fields):
    with pytest.raises(InfeasibleProblem) as error:
        design_network(Problem(**{**vars(R18), **fields}))
    return str(error.value)


def test_too_few_macs_name_the_smallest_networks_macs():
    message = refusal(macs=1e6)
    assert "1,000,000 MACs" in message
    assert "Raise macs" in message
    # The floor by hand: widths and inner 8, kernel 3, one block a stage.
    stem = 112**2 * 27 * 8
    stages = sum(
        r_in**2 * 64 + r**2 * (64 * 9 + 64 + 64)
        for r_in, r in ((112, 56), (56, 28), (28, 14), (14, 14), (14, 7))
    )
    assert f"{stem + stages + 8 * 1000:,} MACs" in message


def test_too_few_params_name_the_smallest_networks_params():
    message = refusal(params=5e3)
    assert "5,000 parameters" in message
    assert "Raise params" in message
    assert re.search(r"smallest needs [\d,]+ parameters", message)


def test_a_rho_that_no_network_reaches_names_the_least():
    message = refusal(rho=1e-4)
    assert "rho 0.0001" in message
    assert "the widest, shallowest has rho" in message
    assert "none can have less than rho" in message
    assert "Raise rho" in message


def test_budgets_in_conflict_name_those_that_are_missed():
    # Few parameters force narrow layers, which cannot have so small a rho.
    message = refusal(params=3e5, rho=0.05)
    assert "300,000 parameters (it has" in message
    assert "rho 0.05 (it has rho" in message
    assert "while it meets 1,820,000,000 MACs" in message
    assert "Raise rho" in message


def test_a_lattice_without_an_inner_width_is_explained():
    # Inner must be a multiple of 8 between 0.1 and 0.4 of the width, which is 16 at most.
    message = refusal(max_width=(16,), inner_ratio=(0.1, 0.4))
    assert "Stage 1 has no width between 8 and 16" in message
    assert "inner_ratio" in message


def test_a_rho_that_only_deep_networks_reach_is_not_refused():
    # After a narrow stem, each further wide layer lowers rho: 0.0165 at depth 1, 0.0043 at 2.
    problem = Problem(
        block="basic",
        strides=(1,),
        kernels=(3,),
        inner_ratio=(1.0,),
        stem_width=(4,),
        stem_stride=1,
        in_channels=1,
        min_width=4,
        max_width=2048,
        max_depth=5,
        multiple_of=4,
        resolution=32,
        classes=10,
        rho=0.01,
    )
    design = design_network(problem)
    assert design.numbers.rho <= 0.01
    assert least_rho(prepare(problem)) <= design.numbers.rho


def test_no_network_lies_below_the_least_rho():
    problem = Problem(**TINY_SPACE)
    assert least_rho(prepare(problem)) <= least_rho_by_enumeration(problem)


def least_rho_by_enumeration(problem):
    lattice = lattice_of(problem)
    ranges = [np.arange(a, b + 1) for a, b in zip(lattice.low, lattice.high, strict=True)]
    point = to_point(lattice, np.array(list(itertools.product(*ranges))))
    return float(evaluate(form_of(problem), data_of(problem), point).rho.min())
