"""Random architectures: exactly feasible, rho as prescribed, deterministic, clear refusals."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

from deepmad_jax.arch import Architecture, Stage, Stem, cost, layer_table
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.studies.sample import sample_architectures, width_growth
from deepmad_jax.errors import InfeasibleProblem, InvalidConfig

# The paper's section 5.3: networks of ResNet-20's size for CIFAR-100.
CIFAR = Problem(
    block="basic",
    strides=(1, 2, 2),
    kernels=(3,),
    inner_ratio=(0.25, 1.0),
    stem_width=(4, 64),
    stem_stride=1,
    min_width=(4,),
    multiple_of=4,
    resolution=32,
    classes=100,
    macs=0.04e9,
    params=0.27e6,
)
B0 = Problem(
    block="mbconv_se",
    strides=(1, 2, 2, 2, 1, 2, 1),
    inner_ratio=(1.5, 6.0),
    stem_width=(16, 32),
    max_width=(1280,),
    final_width=1280,
    macs=390e6,
    params=5.3e6,
)


@pytest.fixture(scope="module")
def cifar():
    return sample_architectures(CIFAR, 65, 0.1, 1.0, seed=0)


def rho_of(arch):
    return levels_of(arch)[-1]["rho"]


def assert_drawn_to(problem, arch, least_use=0.85):
    """Counts of the built architecture in whole numbers, and every rule of the space."""
    rows = layer_table(arch)
    params, macs = cost.params(rows), cost.macs(rows)
    assert params <= problem.params
    assert macs <= problem.macs
    assert max(params / problem.params, macs / problem.macs) >= least_use
    widths = [arch.stem.width, *(stage.width for stage in arch.stages)]
    assert widths == sorted(widths)
    assert problem.stem_width[0] <= arch.stem.width <= problem.stem_width[-1]
    for stage in arch.stages:
        assert problem.inner_ratio[0] <= stage.inner / stage.width <= problem.inner_ratio[-1]
        assert problem.min_width[0] <= stage.width <= problem.max_width[0]
        assert problem.min_depth[0] <= stage.depth <= problem.max_depth[0]
        assert stage.kernel in problem.kernels
    assert all(c % problem.multiple_of == 0 for c in widths)
    assert all(stage.inner % problem.multiple_of == 0 for stage in arch.stages)


def test_the_65_networks_of_section_5_3_are_feasible_and_use_their_budget(cifar):
    assert len(cifar) == 65
    for arch in cifar:
        assert_drawn_to(CIFAR, arch)


def test_one_network_lies_in_each_stratum_of_rho(cifar):
    strata = (np.array([rho_of(arch) for arch in cifar]) - 0.1) / 0.9 * 65
    # 1e-9: levels_of sums the same logs in another order.
    np.testing.assert_array_equal(np.floor(strata + 1e-9), np.arange(65))


def test_networks_are_distinct(cifar):
    plain = [dataclasses.replace(arch, name="same") for arch in cifar]
    assert len(set(plain)) == 65


def test_the_seed_decides_the_networks(cifar):
    assert sample_architectures(CIFAR, 65, 0.1, 1.0, seed=0) == cifar
    other = sample_architectures(CIFAR, 65, 0.1, 1.0, seed=1)
    assert sum(a == b for a, b in zip(cifar, other, strict=True)) < 3


def test_entropy_and_depth_grow_with_rho_and_width_falls(cifar):
    # The paper's Figures 2 and 5. Random networks scatter; over 65 a tau of 0.2 has p < 0.02.
    levels = [levels_of(arch)[-1] for arch in cifar]
    rho = [level["rho"] for level in levels]
    mean_log_width = [level["sum_log_width"] / level["layers"] for level in levels]
    assert kendalltau(rho, [level["layers"] for level in levels]).statistic > 0.5
    assert kendalltau(rho, [level["entropy"] for level in levels]).statistic > 0.2
    assert kendalltau(rho, mean_log_width).statistic < -0.2


def test_growth_stays_below_its_limit():
    for arch in sample_architectures(CIFAR, 20, 0.1, 1.0, max_growth=1.5):
        assert_drawn_to(CIFAR, arch)
        widths = [arch.stem.width, *(stage.width for stage in arch.stages)]
        assert all(2 * after <= 3 * before for before, after in itertools.pairwise(widths))


@pytest.mark.parametrize("ratio", [(1.5, 6.0), (6.0,)])
def test_seven_stages_of_mbconv_are_drawn_too(ratio):
    problem = dataclasses.replace(B0, inner_ratio=ratio)
    for arch in sample_architectures(problem, 8, 0.3, 2.0, least_use=0.95):
        assert_drawn_to(problem, arch, least_use=0.95)


def test_tinynas_rho_is_the_one_prescribed():
    problem = dataclasses.replace(CIFAR, convention="tinynas")
    for i, arch in enumerate(sample_architectures(problem, 5, 0.3, 0.8)):
        rho = max(level["rho"] for level in levels_of(arch))
        assert 0.3 + 0.1 * i - 1e-9 <= rho <= 0.4 + 0.1 * i + 1e-9
        assert cost.tinynas_flops(layer_table(arch)) <= problem.macs


def refusal(error, problem, *args, **kwargs):
    with pytest.raises(error) as caught:
        sample_architectures(problem, *args, **kwargs)
    return str(caught.value)


def test_a_stratum_that_cannot_be_filled_is_named():
    message = refusal(InfeasibleProblem, CIFAR, 2, 0.001, 0.003)
    assert "rho in [0.001, 0.002)" in message
    assert "Raise rho_low" in message
    message = refusal(InfeasibleProblem, CIFAR, 2, 20.0, 40.0)
    assert "rho in [20, 30)" in message
    assert "Lower rho_high" in message


def test_a_space_too_small_for_its_budget_is_explained():
    small = dataclasses.replace(CIFAR, max_width=(8,), max_depth=(2,))
    message = refusal(InfeasibleProblem, small, 1, 0.1, 0.5)
    assert "85-100 % of a budget" in message
    assert "widen the bounds" in message


def test_a_budget_below_the_smallest_network_is_refused():
    assert "1,000 MACs" in refusal(
        InfeasibleProblem, dataclasses.replace(CIFAR, macs=1e3), 1, 0.1, 0.5
    )


@pytest.mark.parametrize(
    ("fields", "arguments", "word"),
    [
        ({}, (0, 0.1, 1.0), "count"),
        ({}, (5, 0.5, 0.5), "rho_low"),
        ({"rho": 0.5}, (5, 0.1, 1.0), "design.rho"),
        ({"macs": np.inf, "params": np.inf}, (5, 0.1, 1.0), "design.macs"),
        ({}, (5, 0.1, 1.0, 0, 1.5), "least_use"),
        ({}, (5, 0.1, 1.0, 0, 0.8, 0.5), "max_growth"),
    ],
)
def test_arguments_out_of_range_are_refused(fields, arguments, word):
    assert word in refusal(InvalidConfig, dataclasses.replace(CIFAR, **fields), *arguments)


def test_width_growth_counts_the_stages_of_stride_2():
    stages = tuple(
        Stage("basic", width, 8, 3, 2, stride) for width, stride in ((16, 2), (20, 1), (30, 2))
    )
    assert width_growth(Architecture("a", 32, 3, 10, Stem(10), stages)) == (1.6, 1.5)
