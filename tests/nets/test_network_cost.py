import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxpr_walk import count_equations, count_macs
from net_examples import EXAMPLES

from deepmad_jax.arch import BLOCKS, Architecture, Stage, Stem, cost, layer_table
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


@st.composite
def stages(draw):
    block = draw(st.sampled_from(BLOCKS))
    # With groups, every channel count is a multiple of them.
    groups = 1 if block.startswith("mbconv") else draw(st.sampled_from([1, 1, 2, 3]))
    return Stage(
        block,
        width=groups * draw(st.integers(1, 20)),
        inner=groups * draw(st.integers(1, 40)),
        kernel=draw(st.sampled_from([1, 3, 5, 7])),
        depth=draw(st.integers(1, 4)),
        stride=draw(st.integers(1, 2)),
        groups=groups,
    )


@st.composite
def architectures(draw):
    chain = draw(st.lists(stages(), min_size=1, max_size=3))
    stem_width = draw(st.integers(1, 20))
    c_in = stem_width
    for i, stage in enumerate(chain):
        # The first kxk conv of a basic stage sees the width before.
        if stage.block == "basic" and c_in % stage.groups:
            chain[i] = dataclasses.replace(stage, groups=1)
        c_in = stage.width
    return Architecture(
        "random",
        resolution=draw(st.integers(1, 80)),
        in_channels=draw(st.integers(1, 3)),
        classes=draw(st.integers(1, 11)),
        stem=Stem(stem_width, draw(st.sampled_from([1, 3, 5])), draw(st.integers(1, 2))),
        stages=tuple(chain),
        final_width=draw(st.none() | st.integers(1, 40)),
    )


@settings(max_examples=30, derandomize=True, deadline=None, database=None)
@given(arch=architectures(), scan=st.booleans())
def test_any_network_has_the_params_and_macs_of_its_table(arch, scan):
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
