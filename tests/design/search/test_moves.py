"""Steps of the annealed chains: what pays for what, and which widths move together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.design.program.lattice import lattice_of, repair
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.search import moves

LATTICE = lattice_of(Problem(strides=(2, 2, 2), kernels=(3, 5), macs=1e9, params=1e7))
# Stem, widths, inner widths, indices of kernels, depths.
START = np.array([4.0, 20, 60, 60, 10, 15, 30, 0, 1, 1, 4, 6, 9])


def moved(trade, **jump):
    """What a step makes of `START`; ``jump`` gives the change of a part, three stages each."""
    change = np.zeros_like(START)
    for name, values in jump.items():
        at = {"width": 1, "inner": 4, "kernel": 7, "depth": 10}[name]
        change[at : at + 3] = values
    with jax.enable_x64(True):
        here, step = (moves.parts_of(jnp.asarray(x)[:, None]) for x in (START, change))
        after = moves.moved(LATTICE, here, step, jnp.array([trade]))
    return np.concatenate([np.ravel(part) for part in after])


def test_a_kernel_is_paid_for_with_its_stages_widths():
    after = moved(1.0, kernel=(1, 0, 0))
    assert after[7] == 1
    assert (after[1], after[4]) == (round(20 * 3 / 5), round(10 * 3 / 5))
    # k^2 width inner is what it was, up to rounding.
    assert after[1] * after[4] * 25 == pytest.approx(20 * 10 * 9, rel=0.02)
    assert after[[2, 3, 5, 6]].tolist() == START[[2, 3, 5, 6]].tolist()


def test_a_kernel_that_does_not_exist_costs_nothing():
    assert moved(1.0, kernel=(0, 1, 0)).tolist() == START.tolist()


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


def test_steps_end_inside_the_bounds_and_no_inner_width_is_out_of_its_ratio():
    rng = np.random.default_rng(0)
    low, high = (end[:, None] for end in (LATTICE.low, LATTICE.high))
    start = repair(LATTICE, np.rint(rng.uniform(low, high, (len(low), 200))).T)
    change = np.rint(rng.normal(scale=60.0, size=start.shape)) * (rng.random(start.shape) < 0.4)
    trade = rng.uniform(-0.5, 1.0, 200)
    with jax.enable_x64(True):
        here, step = (moves.parts_of(jnp.asarray(x.T)) for x in (start, change))
        after = moves.moved(LATTICE, here, step, jnp.asarray(trade))
        after = np.concatenate([np.atleast_2d(part) for part in after]).T
    assert (after != start).any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(repair(LATTICE, after), after)


def test_noise_moves_one_to_three_coordinates_or_trades_a_block():
    noise = moves.draw_noise(3, 40, 16, len(START))
    jump = np.zeros((40, len(START), 16))
    step, _, chain = np.indices(noise.jump.shape)
    np.add.at(jump, (step, noise.coordinate, chain), noise.jump)
    count = (jump != 0).sum(1)
    assert set(np.unique(count)) == {1, 2, 3}
    depths = jump[:, 10:]
    trades = (np.abs(depths) == 0.5).sum(1) == 2
    assert (count[trades] == 2).all()
    assert (depths.sum(1)[trades] == 0).all()
    assert trades.mean() == pytest.approx(moves.EXCHANGED, abs=0.05)
    assert np.isfinite(noise.log_uniform).all()
    assert (noise.log_uniform <= 0).all()


def test_steps_are_as_long_as_the_scale_says_and_shorten_as_it_cools():
    noise = moves.draw_noise(0, 50, 20, len(START))
    scale = np.where(np.arange(len(START)) < 4, 7.0, 0.5)
    scale[-1] = 0.0
    with jax.enable_x64(True):
        whole = np.asarray(moves.whole_steps(noise, scale, np.geomspace(1.0, 1e-3, 50)))
    moves_at_all = noise.jump != 0
    assert (whole[moves_at_all & (noise.coordinate == len(START) - 1)] == 0).all()
    assert (np.abs(whole)[moves_at_all & (noise.coordinate < len(START) - 1)] >= 1).all()
    wide = noise.coordinate < 4
    first, last = (np.abs(whole)[part][wide[part]].mean() for part in (slice(5), slice(-5, None)))
    assert first > 3 * last
    with jax.enable_x64(True):
        steps = moves.steps_of(noise.coordinate[0], whole[0], len(START))
    expected = np.zeros((len(START), 20))
    np.add.at(expected, (noise.coordinate[0], np.arange(20)), whole[0])
    np.testing.assert_array_equal(np.concatenate([np.atleast_2d(p) for p in steps]), expected)
