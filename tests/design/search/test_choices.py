"""Relaxed optima at fixed choices, the search over choices, and the dive to whole widths."""

import dataclasses
import itertools

import numpy as np
import pytest

from deepmad_jax.design.program.evaluate import Point, data_of, evaluate, form_of, spent
from deepmad_jax.design.program.lattice import lattice_of, structural_violation, to_point
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.relaxation.solve import relaxed_optimum, solve_relaxed
from deepmad_jax.design.search.choices import leading_choices
from deepmad_jax.design.search.dive import dive
from deepmad_jax.design.search.fixed_choices import FixedChoices
from deepmad_jax.design.search.interior_point import PRICE, _solution
from tests.design.problems import R18, TINY_SPACE

SE = Problem(
    block="mbconv_se",
    strides=(1, 2, 2),
    kernels=(3, 5),
    inner_ratio=(1.5, 6.0),
    stem_width=(16, 32),
    max_width=(640,),
    final_width=640,
    macs=300e6,
    params=2e6,
    rho=0.5,
)
TINY = Problem(**TINY_SPACE, macs=3e5, params=6e3, rho=0.9)


def start_of(problem):
    """The relaxed optimum, in the unknowns of `fixed_choices`."""
    return FixedChoices(prepare(problem)).unknowns_of(solve_relaxed(problem).x)


@pytest.mark.parametrize(
    "problem",
    [R18, dataclasses.replace(R18, monotone=False, inner_ratio=(0.25,)), SE],
    ids=["r18", "fixed ratio, free order", "squeeze"],
)
def test_value_at_fixed_depths_is_that_of_the_augmented_lagrangian(problem):
    # Another method on another formulation: L-BFGS on the traced program with frozen depths.
    base = np.rint(solve_relaxed(problem).point.depth).astype(int)
    fixed, start, compared = FixedChoices(prepare(problem)), start_of(problem), 0
    for shift in (0, -1):
        depths = np.maximum(base + shift, 1)
        at = tuple(depths.tolist())
        solved = solve_relaxed(dataclasses.replace(problem, min_depth=at, max_depth=at))
        value = fixed.solve(depths[None].astype(float), start).value[0]
        if solved.converged:
            compared += 1
            assert value == pytest.approx(solved.objective, rel=1e-5)
    assert compared


@pytest.mark.parametrize("block", ["bottleneck", "basic", "k1kx", "mbconv", "mbconv_se"])
def test_value_of_a_whole_network_is_its_objective_less_what_it_overspends(block):
    # Ties drop the projections of equal widths exactly; nothing is left to relax.
    problem = dataclasses.replace(
        R18, block=block, strides=(1, 2, 2), macs=1e9, params=3e6, rho=2.0, inner_ratio=(0.25, 1.0)
    )
    rng = np.random.default_rng(0)
    count, stages = 40, 3
    width = np.sort(8.0 * rng.integers(3, 30, (count, stages)), axis=1)
    width[::2, 1] = width[::2, 0]
    inner = np.maximum(np.rint(0.5 * width / 8), 1) * 8
    depth = rng.integers(1, 9, (count, stages)).astype(float)
    kernel = rng.choice([3.0, 5.0], (count, stages))
    stem = np.where(rng.random(count) < 0.3, width[:, 0], 16.0)
    point = Point(stem, width, inner, kernel, depth)
    numbers = evaluate(form_of(problem), data_of(problem), point)
    missed = np.log(np.maximum(spent(data_of(problem), numbers), 1.0)).max(-1)

    chosen = np.log(np.concatenate([stem[:, None], width, inner, kernel], axis=1))
    before = np.concatenate([stem[:, None], width[:, :-1]], axis=1)
    values = FixedChoices(prepare(problem)).solve(depth, chosen, chosen, width == before).value
    price = PRICE * np.maximum(numbers.entropy, 1.0) * missed
    assert 0 < (missed > 0).mean() < 1
    np.testing.assert_allclose(values, numbers.objective - price, rtol=1e-9)


def test_leading_choice_is_the_best_of_all():
    # Every vector of depths with every vector of kernels; two stages, so no exchange is missed.
    problem = dataclasses.replace(R18, strides=(1, 2), macs=1.5e8, params=1e6, max_depth=(8,))
    fixed, x = FixedChoices(prepare(problem)), solve_relaxed(problem).x
    first = leading_choices(prepare(problem), fixed, x, 5)
    choices = np.array(list(itertools.product(range(1, 9), range(1, 9), (3, 5), (3, 5))), float)
    chosen = np.full((len(choices), 7), np.nan)
    chosen[:, 5:] = np.log(choices[:, 2:])
    every = fixed.solve(choices[:, :2], start_of(problem), chosen).value
    assert first.value[0] == pytest.approx(every.max(), rel=1e-6)
    assert (np.diff(first.value) <= 0).all()


@pytest.mark.parametrize("problem", [R18, SE, TINY], ids=["r18", "squeeze", "tiny"])
def test_dive_ends_on_the_lattice_and_mostly_within_the_budgets(problem):
    prepared, lattice = prepare(problem), lattice_of(problem)
    fixed = FixedChoices(prepared)
    choices = leading_choices(prepared, fixed, relaxed_optimum(prepared).x, 32)
    u = dive(prepared, fixed, choices, 16)
    assert 1 <= len(u) <= 16
    assert (u == np.rint(u)).all()
    assert ((u >= lattice.low) & (u <= lattice.high)).all()
    point = to_point(lattice, u)
    numbers = evaluate(form_of(problem), data_of(problem), point)
    met = (spent(data_of(problem), numbers) <= 1).all(-1)
    met &= structural_violation(lattice, problem.monotone, point) == 0
    assert met.any()
    # The relaxed value of the best choice bounds what its networks reach, but for what a squeeze is
    # rounded down by.
    assert numbers.objective[met].max() <= choices.value[0] * 1.01
    assert numbers.objective[met].max() >= choices.value[0] * 0.9


def test_dive_alone_comes_within_two_thousandths_of_the_best_known_r18():
    prepared = prepare(R18)
    fixed = FixedChoices(prepared)
    choices = leading_choices(prepared, fixed, relaxed_optimum(prepared).x, 64)
    u = dive(prepared, fixed, choices, 32)
    numbers = evaluate(prepared.form, prepared.data, to_point(prepared.lattice, u))
    met = (spent(prepared.data, numbers) <= 1).all(-1)
    assert numbers.objective[met].max() >= 0.998 * 64095.74


def test_equal_bounds_leave_one_network():
    problem = dataclasses.replace(
        R18, strides=(2,), kernels=(3,), stem_width=(32,), min_width=(64,), max_width=(64,),
        inner_ratio=(0.5,), min_depth=(3,), max_depth=(3,),
    )  # fmt: skip
    prepared = prepare(problem)
    fixed = FixedChoices(prepared)
    choices = leading_choices(prepared, fixed, relaxed_optimum(prepared).x, 4)
    np.testing.assert_array_equal(dive(prepared, fixed, choices, 4), [[4, 8, 1, 0, 3]])


def test_a_singular_matrix_ends_neither_its_own_solve_nor_the_others():
    matrix, right = np.stack([np.eye(2), np.ones((2, 2)), np.zeros((2, 2))]), np.ones((3, 2))
    step = _solution(matrix, right)
    np.testing.assert_allclose(step[0], 1.0, rtol=1e-5)
    np.testing.assert_allclose(matrix[1] @ step[1], 1.0, rtol=1e-5)
    assert np.isfinite(step).all()
