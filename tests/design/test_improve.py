"""Better networks that the branch and bound hands back, and the proof that ends with them."""

import dataclasses

import numpy as np
import pytest

from deepmad_jax.design.certificate import tree
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.improve import prove
from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.lattice import to_point
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import UserError
from tests.design.problems import R18, TINY_SPACE

TINY = Problem(**TINY_SPACE, macs=3e5, params=6e3, rho=0.9)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(tree, "BATCH", 8)


def smallest(problem):
    prepared = prepare(problem)
    point = to_point(prepared.lattice, feasible.smallest_network(prepared))
    return problem.architecture("smallest", point)


def test_from_the_smallest_network_a_proof_ends_with_the_best_one(small_batches):
    best = design_network(TINY)
    proved = prove(TINY, smallest(TINY), seconds=np.inf)
    assert proved.certificate.exhausted
    assert proved.architecture.stages == best.architecture.stages
    assert proved.numbers.objective == best.numbers.objective
    assert proved.gained > 0
    assert proved.certificate.gap == 0


def test_a_proof_of_the_best_network_keeps_it(small_batches):
    best = design_network(TINY)
    proved = prove(TINY, best.architecture, seconds=np.inf)
    assert proved.gained == 0
    assert proved.architecture == best.architecture


def test_the_same_boxes_give_the_same_proof(small_batches):
    proofs = [prove(TINY, smallest(TINY), seconds=np.inf, nodes=40) for _ in range(2)]
    first, second = (dataclasses.replace(p.certificate, seconds=0.0) for p in proofs)
    assert first == second
    assert proofs[0].architecture == proofs[1].architecture


def test_no_share_of_the_time_leaves_the_design_as_it_is(small_batches):
    proved = prove(TINY, smallest(TINY), seconds=np.inf, nodes=40, share=0.0)
    assert proved.gained == 0


def test_a_network_that_breaks_the_budgets_is_refused():
    design = design_network(TINY)
    with pytest.raises(UserError, match="does not meet its limits"):
        prove(dataclasses.replace(TINY, params=design.numbers.params - 1), design.architecture)


@pytest.mark.slow
def test_r18_from_a_shallow_network_comes_back_to_the_design():
    design = design_network(R18)
    stages = tuple(dataclasses.replace(stage, depth=3) for stage in design.architecture.stages)
    proved = prove(
        R18, dataclasses.replace(design.architecture, stages=stages), seconds=np.inf, nodes=6000
    )
    assert proved.numbers.objective >= 0.9995 * design.numbers.objective
