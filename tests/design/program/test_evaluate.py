"""The program's numbers: published networks, and agreement with the per-architecture path."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.arch.stages import LAYER_NORM_BLOCKS
from deepmad_jax.arch.tinynas import from_structure
from deepmad_jax.design.program.entropy import depth_penalty
from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of, point_of
from deepmad_jax.design.program.levels import levels_of, tinynas_score
from deepmad_jax.design.program.problem import Problem
from tests.arch.test_spec import architectures
from tests.facts import PUBLISHED


def problem_for(arch, **fields):
    return Problem(
        blocks=tuple(stage.block for stage in arch.stages),
        head_width=max(1, *(stage.head_width for stage in arch.stages)),
        positions=arch.positions,
        strides=tuple(stage.stride for stage in arch.stages),
        stem_stride=arch.stem.stride,
        final_width=arch.final_width,
        resolution=arch.resolution,
        in_channels=arch.in_channels,
        classes=arch.classes,
        **fields,
    )


def numbers_of(arch, **fields):
    problem = problem_for(arch, **fields)
    return evaluate(form_of(problem), data_of(problem), point_of(arch))


@pytest.fixture(params=PUBLISHED, ids=lambda fact: fact["name"])
def fact(request):
    return request.param


@pytest.fixture
def arch(fact):
    return from_structure(fact["structure"], fact["name"], fact["resolution"], 1000)


def test_paper_convention_gives_the_published_numbers(fact, arch):
    numbers, expected = numbers_of(arch), fact["paper_convention"]
    assert numbers.params == fact["params"]
    assert numbers.macs == fact["macs"]
    np.testing.assert_allclose(
        numbers.entropy_per_level[-len(expected["entropy_per_level"]) :],
        expected["entropy_per_level"],
        rtol=1e-12,
    )
    np.testing.assert_allclose(numbers.entropy, expected["weighted_entropy"], rtol=1e-12)
    np.testing.assert_allclose(numbers.rho, expected["rho"], rtol=1e-12)


def test_levels_of_an_architecture_give_the_published_numbers(fact, arch):
    levels, expected = levels_of(arch), fact["paper_convention"]
    entropies = [level["entropy"] for level in levels]
    np.testing.assert_allclose(entropies, expected["entropy_per_level"], rtol=1e-12)
    assert [level["resolution"] for level in levels] == expected["level_resolutions"]
    np.testing.assert_allclose(levels[-1]["rho"], expected["rho"], rtol=1e-12)


def test_tinynas_convention_gives_the_released_numbers(fact, arch):
    numbers, expected = numbers_of(arch, convention="tinynas"), fact["tinynas_convention"]
    assert numbers.params == expected["params"]
    assert numbers.macs == expected["flops"]
    np.testing.assert_allclose(numbers.rho, expected["rho"], rtol=1e-9)
    np.testing.assert_allclose(numbers.entropy, expected["score_corrected"], rtol=1e-9)
    np.testing.assert_allclose(numbers.penalty, expected["penalty"], rtol=1e-9)


def test_tinynas_scores_come_out_as_released_and_corrected(fact, arch):
    expected = fact["tinynas_convention"]
    at_224 = dataclasses.replace(arch, resolution=224)
    scores = {
        "score_corrected": tinynas_score(arch),
        "score_as_released": tinynas_score(arch, as_released=True),
        "score_as_released_at_224": tinynas_score(at_224, as_released=True),
    }
    assert scores == pytest.approx({name: expected[name] for name in scores}, rel=1e-9)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(architectures)
def test_batched_numbers_equal_the_layer_tables(arch):
    heads_of_one_width = tuple(
        dataclasses.replace(stage, head_width=5) if stage.head_width else stage
        for stage in arch.stages
    )
    norm = heads_of_one_width[-1].block in LAYER_NORM_BLOCKS
    arch = dataclasses.replace(arch, stages=heads_of_one_width, head_norm=norm)
    numbers = numbers_of(arch)
    rows, levels = layer_table(arch), levels_of(arch)
    assert numbers.params == cost.params(rows)
    assert numbers.macs == cost.macs(rows)
    entropies = [level["entropy"] for level in levels]
    of_levels = numbers.entropy_per_level[-len(entropies) :]
    np.testing.assert_allclose(of_levels, entropies, rtol=1e-12)
    np.testing.assert_allclose(numbers.rho, levels[-1]["rho"], rtol=1e-12)


def test_r18s_best_known_design_has_its_recorded_numbers():
    # SPEC section 5; the literals are measured there, not computed here.
    problem = Problem(macs=1.82e9, params=11.69e6, rho=0.3)
    stages = np.array(
        [(168, 24, 5, 4), (384, 40, 5, 6), (552, 64, 5, 8), (720, 72, 5, 9), (1120, 112, 5, 9)]
    )
    arch = problem.architecture("best", (40, *stages.T))
    numbers = numbers_of(arch)
    assert round(float(numbers.objective), 2) == 64095.74
    assert round(float(numbers.entropy), 2) == 64525.22
    assert (int(numbers.params), int(numbers.macs)) == (11_672_112, 1_819_586_048)
    assert round(float(numbers.rho), 4) == 0.2986


def test_depth_penalty_is_the_exponential_of_the_population_variance():
    assert depth_penalty(np.array([2.0, 4.0])) == pytest.approx(np.e)
    assert np.isfinite(depth_penalty(np.array([1.0, 1000.0])))
