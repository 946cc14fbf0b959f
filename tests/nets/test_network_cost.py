import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxpr_walk import count_equations, count_macs
from net_examples import EXAMPLES

from deepmad_jax.arch import BASELINE_BLOCKS, BLOCKS, Architecture, Stage, Stem, cost, layer_table
from deepmad_jax.arch.stages import ACTIVATIONS, DEPTHWISE_BLOCKS, PLAIN_STEMS
from deepmad_jax.arch.zoo import ZOO, zoo
from deepmad_jax.nets import Network


def forward_jaxpr(arch, scan):
    """Number of parameters, and the jaxpr of the forward pass of one image; nothing is computed."""
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0), scan=scan))
    graphdef, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    image = jax.ShapeDtypeStruct((1, arch.resolution, arch.resolution, arch.in_channels), "float32")

    def forward(params, stats, image):
        return nnx.merge(graphdef, params, stats)(image)

    closed = jax.make_jaxpr(forward)(params, stats, image)
    assert closed.out_avals[0].shape == (1, arch.classes)
    return sum(leaf.size for leaf in jax.tree.leaves(params)), closed.jaxpr


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("name", EXAMPLES)
def test_network_has_the_params_and_macs_of_its_table(name, scan):
    num_params, jaxpr = forward_jaxpr(EXAMPLES[name], scan)
    rows = layer_table(EXAMPLES[name])
    assert num_params == cost.params(rows)
    assert count_macs(jaxpr) == cost.macs(rows)


# Scanned: a stage of 36 equal blocks is traced once.
@pytest.mark.parametrize("name", ZOO)
def test_published_network_has_the_params_and_macs_of_its_table(name):
    num_params, jaxpr = forward_jaxpr(zoo(name), scan=True)
    rows = layer_table(zoo(name))
    assert num_params == cost.params(rows)
    assert count_macs(jaxpr) == cost.macs(rows)


GROUPED_FIRST = ("basic", "res_basic", "res_basic_pad", "fused_mbconv")
"""Whose first kxk conv sees the width before the stage."""


@st.composite
def stages(draw, blocks=BLOCKS):
    block = draw(st.sampled_from(blocks))
    # With groups, every channel count is a multiple of them.
    groups = 1 if block in DEPTHWISE_BLOCKS else draw(st.sampled_from([1, 1, 2, 3]))
    width = groups * draw(st.integers(1, 20))
    # The inverted residuals expand by a whole factor, so that any input can be.
    unit = width if block.startswith("inverted") else groups
    return Stage(
        block,
        width=width,
        inner=unit * draw(st.integers(1, 6 if block.startswith("inverted") else 40)),
        kernel=draw(st.sampled_from([1, 3, 5, 7])),
        depth=draw(st.integers(1, 4)),
        stride=draw(st.integers(1, 2)),
        groups=groups,
        heads=draw(st.integers(1, 5)) if block == "attention" else 1,
        head_width=draw(st.integers(1, 9)) if block == "attention" else 0,
    )


@st.composite
def stems(draw, kinds=("conv",)):
    kind, width = draw(st.sampled_from(kinds)), draw(st.integers(1, 20))
    if kind == "patch":
        size = draw(st.integers(1, 5))
        return Stem(width, size, size, kind)
    return Stem(width, draw(st.sampled_from([1, 3, 5])), draw(st.integers(1, 2)), kind)


@st.composite
def architectures(draw):
    return _chained(
        stages=draw(st.lists(stages(), min_size=1, max_size=3)),
        stem=draw(stems(("conv", "conv", "patch"))),
        resolution=draw(st.integers(1, 80)),
        in_channels=draw(st.integers(1, 3)),
        classes=draw(st.integers(1, 11)),
        final_width=draw(st.none() | st.integers(1, 40)),
        head_norm=draw(st.booleans()),
        positions=draw(st.booleans()),
    )


@st.composite
def baselines(draw):
    return _chained(
        stages=draw(st.lists(stages(BASELINE_BLOCKS), min_size=1, max_size=3)),
        stem=draw(stems(PLAIN_STEMS)),
        resolution=draw(st.integers(1, 60)),
        in_channels=draw(st.integers(1, 3)),
        classes=draw(st.integers(1, 11)),
        final_width=draw(st.none() | st.integers(1, 40)),
        activation=draw(st.sampled_from(ACTIVATIONS)),
        head_norm=draw(st.booleans()),
    )


def _chained(stages, stem, **fields):
    """The architecture, with what the width before forbids a stage put right."""
    c_in = stem.width
    for i, stage in enumerate(stages):
        if stage.block in GROUPED_FIRST and c_in % stage.groups:
            stage = dataclasses.replace(stage, groups=1)
        if stage.block == "res_basic_pad":
            stage = dataclasses.replace(stage, width=c_in + stage.width, inner=6, groups=1)
        stages[i], c_in = stage, stage.width
    return Architecture("random", stem=stem, stages=tuple(stages), **fields)


@settings(max_examples=30, derandomize=True, deadline=None, database=None)
@given(arch=architectures(), scan=st.booleans())
def test_any_network_has_the_params_and_macs_of_its_table(arch, scan):
    num_params, jaxpr = forward_jaxpr(arch, scan)
    rows = layer_table(arch)
    assert num_params == cost.params(rows)
    assert count_macs(jaxpr) == cost.macs(rows)


@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@given(arch=baselines(), scan=st.booleans())
def test_any_baseline_has_the_params_and_macs_of_its_table(arch, scan):
    num_params, jaxpr = forward_jaxpr(arch, scan)
    rows = layer_table(arch)
    assert num_params == cost.params(rows)
    assert count_macs(jaxpr) == cost.macs(rows)


def test_scanned_program_does_not_grow_with_depth():
    def num_convs(depth, scan):
        arch = Architecture("deep", 32, 3, 7, Stem(8), (Stage("mbconv_se", 8, 24, 3, depth, 2),))
        return count_equations(forward_jaxpr(arch, scan)[1], "conv_general_dilated")

    # Stem 1, then 5 a block: 1x1, depthwise, 1x1 and the squeeze's two.
    assert [num_convs(depth, scan=True) for depth in (1, 2, 9)] == [6, 11, 11]
    assert [num_convs(depth, scan=False) for depth in (1, 2, 9)] == [6, 11, 46]


def test_walk_counts_padded_taps_and_loops():
    def two_convs_in_a_loop(x, kernels):
        def step(x, kernel):
            y = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return jax.nn.silu(y), None

        x, _ = jax.lax.scan(jax.jit(step), x, kernels)
        return x.reshape(1, -1) @ jnp.ones((32, 3))

    jaxpr = jax.make_jaxpr(two_convs_in_a_loop)(jnp.ones((1, 4, 4, 2)), jnp.ones((2, 3, 3, 2, 2)))
    assert count_macs(jaxpr.jaxpr) == 2 * (16 * 2) * (9 * 2) + 32 * 3
