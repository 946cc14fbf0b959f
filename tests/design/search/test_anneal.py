"""Steps of the annealed chains: what pays for what, and which widths move together."""

import jax
import numpy as np
import pytest

from deepmad_jax.design.program.lattice import lattice_of
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.search import anneal

LATTICE = lattice_of(Problem(strides=(2, 2, 2), kernels=(3, 5), macs=1e9, params=1e7))
# Stem, widths, inner widths, indices of kernels, depths.
START = np.array([[4.0, 20, 60, 60, 10, 15, 30, 0, 1, 1, 4, 6, 9]])


def moved(trade, **jump):
    """What a step makes of `START`; ``jump`` gives the change of a part, three stages each."""
    change = np.zeros_like(START)
    for name, values in jump.items():
        at = {"width": 1, "inner": 4, "kernel": 7, "depth": 10}[name]
        change[0, at : at + 3] = values
    with jax.enable_x64(True):
        after = anneal._moved(LATTICE, START, change, np.array([[trade]]))
    return np.asarray(after)[0]


def test_a_kernel_is_paid_for_with_its_stages_widths():
    after = moved(1.0, kernel=(1, 0, 0))
    assert after[7] == 1
    assert (after[1], after[4]) == (round(20 * 3 / 5), round(10 * 3 / 5))
    # k^2 width inner is what it was, up to rounding.
    assert after[1] * after[4] * 25 == pytest.approx(20 * 10 * 9, rel=0.02)
    assert after[[2, 3, 5, 6]].tolist() == START[0, [2, 3, 5, 6]].tolist()


def test_a_kernel_that_does_not_exist_costs_nothing():
    assert moved(1.0, kernel=(0, 1, 0)).tolist() == START[0].tolist()


def test_a_block_and_an_inner_width_are_paid_for():
    after = moved(0.8, depth=(0, 0, 3))
    assert (after[12], after[3], after[6]) == (12, round(60 * 0.75**0.8), round(30 * 0.75**0.8))
    after = moved(1.0, inner=(2, 0, 0))
    assert (after[4], after[1]) == (12, round(20 * 10 / 12))


def test_a_small_trade_is_the_inner_widths_alone():
    after = moved(0.5, depth=(0, 0, 3))
    assert (after[12], after[3], after[6]) == (12, 60, round(30 * 0.75**0.5))


def test_equal_widths_move_together_without_trade():
    assert moved(-0.1, width=(0, -2, 0))[:4].tolist() == [4, 20, 58, 58]
    assert moved(0.1, width=(0, -2, 0))[:4].tolist() == [4, 20, 58, 60]


def test_a_width_may_take_its_neighbours():
    assert moved(-0.45, width=(5, 0, 0))[:4].tolist() == [4, 60, 60, 60]
    assert moved(-0.45, width=(0, -1, 0))[:4].tolist() == [4, 20, 20, 60]
    assert moved(-0.45, width=(0, 0, 1))[:4].tolist() == [4, 20, 60, 60]
