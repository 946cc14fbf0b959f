"""Designs of clips: 3-D blocks from the layer table to the certificate and the page."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from deepmad_jax import report
from deepmad_jax.arch import Architecture, Stage, Stem, cost, layer_table
from deepmad_jax.arch.rows import Oblong, is_main_path
from deepmad_jax.arch.stages import CLIP_BLOCKS
from deepmad_jax.design.certificate import certify, tree
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of, point_of
from deepmad_jax.design.program.lattice import lattice_of, to_point
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InvalidArchitecture, InvalidConfig
from deepmad_jax.nets import Network
from tests.design.problems import TINY_SPACE
from tests.design.search.test_projection import brute_force
from tests.nets.jaxpr_walk import count_macs

SMALL = {
    "block": "bottleneck",
    "frames": 8,
    "strides": (2, 2),
    "strides_t": (1, 2),
    "kernels": (3, 5),
    "kernels_t": (1, 3),
    "stem_width": (8, 16),
    "max_width": (64,),
    "max_depth": (4,),
    "resolution": 45,
    "resolution_w": 30,
    "classes": 5,
    "params": 40e3,
    "macs": 40e6,
    "rho": 0.7,
}
TINY = TINY_SPACE | {"frames": 4, "kernels": (3,), "kernels_t": (1, 3), "strides_t": (1, 2)}
"""Small enough to enumerate, the kernel (1x3x3 or 3x3x3) chosen by stage."""


@pytest.fixture(scope="module")
def small():
    return design_network(Problem(**SMALL))


def test_a_design_has_the_params_and_macs_of_the_built_network_and_meets_its_limits(small):
    arch, numbers = small.architecture, small.numbers
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0)))
    graph, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    clip = jax.ShapeDtypeStruct((1, 8, 45, 30, 3), "float32")
    jaxpr = jax.make_jaxpr(lambda p, s, x: nnx.merge(graph, p, s)(x))(params, stats, clip)
    assert count_macs(jaxpr.jaxpr) == cost.macs(layer_table(arch)) == numbers.macs <= 40e6
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    assert sum(sizes) == cost.params(layer_table(arch)) == numbers.params <= 40e3
    assert numbers.rho <= 0.7
    assert {stage.kernel_t for stage in arch.stages} == {1, 3}  # the search chose both


def test_entropy_takes_the_frames_of_the_map_and_of_the_kernel(small):
    """By hand from the formulas: fan-ins ``c k_t k^2``, levels ``log(t r^2 c)``."""
    arch = small.architecture
    c_in, fan_ins = arch.stem.width, [3 * 3**2]
    expected = [np.log(8 * 23 * 15 * c_in) * np.log(fan_ins).sum()]
    for stage, pixels in zip(arch.stages, (8 * 12 * 8, 4 * 6 * 4), strict=True):
        for _ in range(stage.depth):
            fan_ins += [c_in, stage.inner * stage.kernel_t * stage.kernel**2, stage.inner]
            c_in = stage.width
        expected.append(np.log(pixels * stage.width) * np.log(fan_ins).sum())
    found = small.numbers.entropy_per_level[-3:]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    levels = levels_of(arch)
    np.testing.assert_allclose([level["entropy"] for level in levels], expected, rtol=1e-12)
    assert small.numbers.rho == pytest.approx(
        len(fan_ins) / np.exp(np.log(fan_ins).mean()), rel=1e-12
    )


def random_problem(rng, block):
    """A small lattice with budgets that a random point of it just meets, or nearly."""
    space = dict(TINY, block=block, monotone=bool(rng.integers(2)))
    if block.startswith("mbconv"):
        space |= {"inner_ratio": (2.0, 4.0), "multiple_of": 8, "min_width": (8,)}
        space |= {"stem_width": (8, 16), "max_width": (24,), "max_depth": (2,)}
    if rng.integers(2):
        space |= {"stem_kernel_t": 3, "final_width": 16}
    if rng.integers(2):
        space |= {"kernels_t": (1, 5), "strides_t": (2, 1)}
    problem = Problem(**space, beta=float(rng.choice([0.0, 10.0])))
    lattice = lattice_of(problem)
    u = np.floor(rng.uniform(lattice.low, lattice.high + 1))
    at = evaluate(form_of(problem), data_of(problem), to_point(lattice, u))
    loose = rng.choice([np.inf, 1.0, 1.3], size=3)
    limits = {"macs": at.macs, "params": at.params, "rho": at.rho}
    limits = {k: float(v * r) for (k, v), r in zip(limits.items(), loose, strict=True)}
    return dataclasses.replace(problem, **limits)


@pytest.mark.parametrize("block", CLIP_BLOCKS)
def test_bound_is_never_below_the_brute_force_optimum(block, monkeypatch):
    monkeypatch.setattr(tree, "BATCH", 8)
    rng = np.random.default_rng(CLIP_BLOCKS.index(block))
    for _ in range(6):
        problem = random_problem(rng, block)
        best = brute_force(problem)
        known = best if np.isfinite(best) else 0.0
        for incumbent in (known, known - 0.1 * abs(known) - 1e-6):
            bound = certify.certify(problem, incumbent, seconds=np.inf, nodes=40)
            # Objectives carry rounding of about 1e-13 of their terms.
            assert bound.upper_bound >= best - 1e-12 * abs(best), problem
            assert not bound.exhausted or best <= incumbent + 1e-12 * abs(best)


@pytest.mark.parametrize("params", [2.5e3, 9e3])
@pytest.mark.parametrize("rho", [0.15, 0.5])
def test_tiny_problems_reach_the_brute_force_optimum(params, rho):
    problem = Problem(**TINY, params=params, rho=rho, macs=4e6)
    best = brute_force(problem)
    assert np.isfinite(best)
    assert design_network(problem).numbers.objective == pytest.approx(best, rel=1e-9)


@pytest.mark.slow
def test_the_small_design_is_proved_optimal(small):
    problem = Problem(**SMALL)
    proof = certify.certify(problem, float(small.numbers.objective), seconds=np.inf, nodes=4000)
    assert proof.exhausted
    assert proof.gap == 0.0


def test_the_table_of_a_batch_is_that_of_each_network(small):
    arch = small.architecture
    problem = Problem(**SMALL)
    numbers = evaluate(form_of(problem), data_of(problem), point_of(arch))
    assert (numbers.params, numbers.macs) == (small.numbers.params, small.numbers.macs)
    rows = layer_table(arch)
    assert problem.architecture("design", point_of(arch)) == arch
    assert sum(row.repeat for row in rows if is_main_path(row)) == levels_of(arch)[-1]["layers"]


def test_kernels_of_one_frame_do_on_every_frame_what_they_do_on_an_image():
    stages = (Stage("bottleneck", 24, 8, 3, 3, 2), Stage("basic", 32, 8, 5, 2, 2))
    images = Architecture("images", 45, 3, 5, Stem(8), stages)
    clips = dataclasses.replace(images, frames=7)
    classifier = 32 * 5
    of_images, of_clips = (cost.macs(layer_table(arch)) for arch in (images, clips))
    assert of_clips - classifier == 7 * (of_images - classifier)
    assert cost.params(layer_table(clips)) == cost.params(layer_table(images))


def test_one_frame_is_an_image():
    one, none = (Problem(**(TINY_SPACE | {"frames": n, "kernels_t": (3,)})) for n in (1, 0))
    assert form_of(one) == form_of(none)
    assert one.choices == none.choices == ((3, 5), (3, 5))
    point = to_point(lattice_of(one), lattice_of(one).low)
    assert one.architecture("a", point) == none.architecture("a", point)


def test_a_stride_halves_frames_and_pixels_each_by_its_own():
    assert Oblong(45, 30, 7) ** 2 == 45 * 30 * 7
    assert -(-Oblong(45, 30, 7) // Oblong(2, 2, 1)) == Oblong(23, 15, 7)
    problem = Problem(**SMALL)
    assert problem.resolutions == (Oblong(23, 15, 8), Oblong(12, 8, 8), Oblong(6, 4, 4))


def test_json_and_tables_hold_the_frames(small):
    arch = small.architecture
    assert Architecture.from_json(arch.to_json()) == arch
    plain = dataclasses.replace(arch, frames=0, stages=(Stage("basic", 16, 8, 3, 1, 1),))
    text = plain.to_json()
    assert not {"frames", "kernel_t", "stride_t"} & set(text.replace('"', " ").split())
    table = report.design_table(arch, small.to_dict())
    assert "8 x 45 x 30 x 3 input, bottleneck (not in the paper)" in table
    kernels = [f"{s.kernel_t}x{s.kernel}x{s.kernel}" for s in arch.stages]
    assert "X3D-M   16x224x224       3.76              4.730" in table
    assert f"{small.numbers.macs / 1e9:.3f}" in table
    for words in ("8x23x15", "4x6x4", "2x2x2", *kernels):
        assert words in table, words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frames": 0}, r"strides_t is .* but frames is 0"),
        ({"frames": 1}, r"frames is 1, so the network is of images"),
        ({"strides_t": (1, 2, 1)}, "strides_t has 3 entries, but strides make 2 stages"),
        ({"strides_t": (1, 3)}, "strides_t"),
        ({"kernels_t": ()}, "kernels_t is empty"),
        ({"kernels_t": (2,)}, "kernels_t"),
        ({"block": "convnext"}, "blocks of basic, .* only"),
        ({"blocks": ("bottleneck", "basic|attention")}, r"only \(here: attention"),
        ({"patch": 4}, "only"),
        ({"convention": "tinynas"}, "set convention to paper"),
        ({"latency": 1.0, "latency_table": "times.csv"}, "latency tables are of maps without"),
    ],
)
def test_what_clips_cannot_have_is_refused(fields, words):
    with pytest.raises(InvalidConfig, match=words):
        Problem(**(SMALL | fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frames": 1}, "a clip has at least 2"),
        ({"frames": 0}, "but the network is of images: set frames"),
        ({"head_norm": True}, "clips go through a conv stem"),
        ({"stem": Stem(8, 3, 2, "max_pool")}, "max_pool stem"),
        ({"stages": (Stage("convnext", 8, 8, 3, 1, 2),)}, "convnext"),
    ],
)
def test_architectures_that_are_of_no_clips_are_refused(small, fields, words):
    with pytest.raises(InvalidArchitecture, match=words):
        dataclasses.replace(small.architecture, **fields)
