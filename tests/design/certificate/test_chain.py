"""The bound over whole networks: exact at any prices, never below a network's objective."""

import dataclasses
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest

from deepmad_jax.arch.stages import BLOCKS
from deepmad_jax.design.certificate import certify, tree
from deepmad_jax.design.certificate.chain import Chain, Network, Prices
from deepmad_jax.design.certificate.cutting_planes import least
from deepmad_jax.design.certificate.recursion import greatest
from deepmad_jax.design.certificate.stage_terms import stage_terms
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.search.effort import QUICK
from tests.design.certificate.test_certify import random_problem
from tests.design.problems import R18, Problem
from tests.design.search.test_projection import every_network

CLOSE = 1e-7  # more than the bound adds for rounding


def whole_box(problem, incumbent=-1e9):
    """The chain's box of the whole space."""
    prepared = prepare(problem)
    first = tree.whole_space(prepared)
    return Chain(prepared).box(*first, incumbent)


def networks_of(problem):
    """Every network of the lattice and its objective, -inf where it misses a limit."""
    point, objective = every_network(problem)
    stem, width, inner, kernel, depth = (np.asarray(part, float) for part in point)
    widths = np.concatenate([stem[:, None], width], axis=1)
    return [
        Network(w, i, k, d - 1.0) for w, i, k, d in zip(widths, inner, kernel, depth, strict=True)
    ], objective


def random_prices(box, rng):
    """Of any size, some of them zero."""
    count, levels = len(box.chain.limited), len(box.ranges.level_low)
    budgets = rng.choice([0.0, 1.0], size=count) * 10 ** rng.uniform(0, 4, size=count)
    rho = float(rng.choice([0.0, 1.0]) * 10 ** rng.uniform(-1, 2)) * box.chain.has_rho
    variance = float(10 ** rng.uniform(-2, 2)) if box.chain.penalised else 0.0
    return Prices(budgets, rho, variance, rng.uniform(size=levels))


def problems_of(block, count):
    rng = np.random.default_rng(100 + BLOCKS.index(block))
    return [random_problem(rng, block) for _ in range(count)], rng


@pytest.mark.parametrize("block", BLOCKS)
def test_bound_at_any_prices_is_the_greatest_of_all_networks(block):
    problems, rng = problems_of(block, 6)
    for problem in problems:
        box = whole_box(problem)
        networks, objective = networks_of(problem)
        inside = [network for network in networks if _in_order(network, problem)]
        some = [inside[i] for i in rng.choice(len(inside), min(len(inside), 200), replace=False)]
        for _ in range(2):
            prices = random_prices(box, rng)
            bound, reached = greatest(box, prices)
            # It is a network's own value, and no other network has a greater one.
            assert any(_same(reached, network) for network in inside)
            assert box.plane(reached, prices)[0] == pytest.approx(bound, rel=CLOSE, abs=CLOSE)
            most = max(box.plane(network, prices)[0] for network in some)
            assert bound >= most - CLOSE * abs(most), problem
            assert bound >= objective.max() - CLOSE * abs(objective.max())


def _same(one, other):
    return all(np.allclose(a, b) for a, b in zip(one, other, strict=True))


def _in_order(network, problem):
    return not problem.monotone or all(a <= b for a, b in pairwise(network.widths))


@pytest.mark.parametrize("block", BLOCKS)
def test_least_bound_is_above_every_network_that_meets_the_limits(block):
    problems, rng = problems_of(block, 6)
    for problem in problems:
        _, objective = networks_of(problem)
        best = objective.max()
        if not np.isfinite(best):
            continue
        incumbent = best - 0.2 * abs(best) - 1.0
        box = whole_box(problem, incumbent)
        start = random_prices(box, rng)
        found = least(box, start, [], incumbent)
        assert best * (1 - CLOSE) <= found.bound <= greatest(box, start)[0] * (1 + CLOSE)
        # Begun from what it found, it ends no higher; its networks are in the box.
        again = least(box, found.prices, found.networks, incumbent)
        assert again.bound <= found.bound * (1 + CLOSE)
        assert all(box.holds(network) for network in found.networks)


def test_slope_is_the_change_of_a_plane_with_the_prices():
    problems, rng = problems_of("mbconv_se", 1)
    box = whole_box(dataclasses.replace(problems[0], beta=10.0, rho=0.5))
    prices = random_prices(box, rng)
    _, network = greatest(box, prices)
    _, slope = box.plane(network, prices)
    x, costs = prices.joined(), len(prices.budgets)
    for i, step in enumerate(1e-5 * np.maximum(np.abs(x), 1.0)):
        ends = [x + sign * step * (np.arange(len(x)) == i) for sign in (1, -1)]
        above, below = (box.plane(network, Prices.of(end, costs))[0] for end in ends)
        assert (above - below) / (2 * step) == pytest.approx(slope[i], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_term_of_every_kind_belongs_to_a_stage(block):
    problem = Problem(block=block, macs=2e9, params=2e7, rho=0.5, heads=(2, 4))
    program = prepare(problem).bounding
    terms = stage_terms(program)
    assert terms.fits
    np.testing.assert_array_equal(terms.coefficients, program.coefficients)


def test_term_of_two_stages_is_left_out_and_the_bound_stays_one():
    problem = dataclasses.replace(R18, strides=(2, 2))
    program = prepare(problem).bounding
    exponents = np.array(program.exponents)
    at = program.layout
    exponents[0, at.kernel] = 1.0  # of both stages
    terms = stage_terms(program._replace(exponents=exponents))
    assert (terms.coefficients[:, 0] == 0).all()
    np.testing.assert_array_equal(terms.coefficients[:, 1:], program.coefficients[:, 1:])


def test_large_boxes_are_left_alone():
    assert whole_box(R18) is None


def test_coarse_networks_are_proved_optimal(monkeypatch):
    monkeypatch.setattr(tree, "FEW", 64)  # the second tree begins early
    monkeypatch.setattr(certify, "RELAXED_A_CHAINED", 0)  # and has every turn
    # With the first tree alone 600 boxes leave a gap of 1.8 %.
    problem = Problem(
        strides=(2, 1),
        kernels=(1, 3),
        stem_width=(64,),
        min_width=(16,),
        max_depth=(60,),
        multiple_of=16,
        resolution=160,
        classes=10,
        macs=605392649.0,
        params=370942.0,
        rho=1.273,
        alpha=(0.25, 0.36),
        beta=0.0,
    )
    design = design_network(problem, effort=QUICK)
    best = 1928.622207897056
    assert design.numbers.objective <= best * (1 + CLOSE)
    later = mock.Mock(wraps=tree.least)
    monkeypatch.setattr(tree, "least", later)
    result = certify.certify(problem, best, seconds=np.inf, nodes=600)
    assert later.call_count > 50
    assert result.gap < 1e-9


def test_patience_makes_what_fails_rarer_until_it_helps():
    patience = tree.Patience()
    turns = []
    for _ in range(200):
        if patience.due():
            turns.append(True)
            patience.told(pruned=False)
        else:
            turns.append(False)
    assert all(turns[: tree.FAILURES + 1])
    assert sum(turns[-64:]) == 64 // tree.RAREST
    patience.told(pruned=True)
    assert patience.due()
