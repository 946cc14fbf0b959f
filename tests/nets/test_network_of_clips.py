"""Networks of clips: their params and MACs, logits against PyTorch's, their forms for CPUs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxpr_walk import count_macs

from deepmad_jax.arch import Architecture, Stage, Stem, cost, layer_table
from deepmad_jax.arch.rows import along_axes
from deepmad_jax.arch.stages import CLIP_BLOCKS, DEPTHWISE_BLOCKS
from deepmad_jax.errors import UserError
from deepmad_jax.nets import Network

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""float32 sums of hundreds of products, in another order."""

SMALL = Architecture(
    "small",
    *(12, 3, 5, Stem(8, 3, 2, kernel_t=3)),
    stages=(
        Stage("bottleneck", 12, 8, 3, 2, 2, kernel_t=3),
        Stage("mbconv_se", 12, 24, 3, 1, 1, kernel_t=3, stride_t=2),
        Stage("basic", 16, 8, 3, 1, 2, kernel_t=1, stride_t=2),
    ),
    final_width=20,
    resolution_w=15,
    frames=5,
)
"""Odd sizes in every axis, strides in pixels, in frames and in both."""


def net_of(arch, **settings):
    """The network with statistics and scales drawn, so that any slip shows."""
    net = Network(arch, rngs=nnx.Rngs(0), zero_init=False, **settings)
    rng = np.random.default_rng(0)

    def drawn(path, value):
        if path[-1] in ("mean", "bias"):
            return value.replace(jnp.asarray(rng.normal(0, 0.1, value.shape), jnp.float32))
        if path[-1] in ("var", "scale"):
            return value.replace(jnp.asarray(rng.uniform(0.5, 1.5, value.shape), jnp.float32))
        return value

    state = nnx.state(net)
    flat = [(path, drawn(path, value)) for path, value in nnx.to_flat_state(state)]
    nnx.update(net, nnx.from_flat_state(flat))
    return net


def clips_of(arch, batch=2):
    shape = (batch, arch.frames, *arch.size_px, arch.in_channels)
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


@nnx.jit
def logits_of(net, clips):
    return net(clips)


@st.composite
def architectures(draw):
    groups = draw(st.sampled_from([1, 1, 2]))
    stages = []
    for _ in range(draw(st.integers(1, 3))):
        block = draw(st.sampled_from(CLIP_BLOCKS))
        stages.append(
            Stage(
                block,
                width=groups * draw(st.integers(1, 12)),
                inner=groups * draw(st.integers(1, 20)),
                kernel=draw(st.sampled_from([1, 3, 5])),
                depth=draw(st.integers(1, 3)),
                stride=draw(st.integers(1, 2)),
                groups=1 if block in DEPTHWISE_BLOCKS else groups,
                kernel_t=draw(st.sampled_from([1, 3, 5])),
                stride_t=draw(st.integers(1, 2)),
            )
        )
    stem = Stem(groups * draw(st.integers(1, 8)), kernel_t=draw(st.sampled_from([1, 3])))
    return Architecture(
        *("random", draw(st.integers(1, 30)), draw(st.integers(1, 3)), 5, stem, tuple(stages)),
        final_width=draw(st.none() | st.integers(1, 20)),
        resolution_w=draw(st.integers(0, 30)),
        frames=draw(st.integers(2, 9)),
    )


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(arch=architectures())
def test_any_network_of_clips_has_the_params_and_macs_of_its_table(arch):
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0)))
    graph, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    clip = jax.ShapeDtypeStruct((1, *along_axes(arch.image), arch.in_channels), "float32")
    jaxpr = jax.make_jaxpr(lambda p, s, x: nnx.merge(graph, p, s)(x))(params, stats, clip)
    assert jaxpr.out_avals[0].shape == (1, arch.classes)
    rows = layer_table(arch)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == cost.params(rows)
    assert count_macs(jaxpr.jaxpr) == cost.macs(rows)


def test_logits_are_those_of_pytorchs_convs_with_the_same_weights():
    torch = pytest.importorskip("torch")
    net = net_of(SMALL)
    clips = clips_of(SMALL)
    expected = pytorch_logits(torch, net, np.asarray(clips))
    found = np.asarray(logits_of(net, clips))
    assert np.abs(found).max() > 0.01
    np.testing.assert_allclose(found, expected, **CLOSE)


def pytorch_logits(torch, net, clips):
    """The blocks once more by `torch.nn.functional`: written from the specification's section 3."""
    F = torch.nn.functional

    def tensor(value):
        return torch.tensor(np.asarray(value[...]))

    def conv(x, block, name, stride, padding, groups, repeat):
        kernel, norm = (block.layers[f"{name}_{kind}"] for kind in ("conv", "norm"))
        pick = (lambda v: tensor(v)) if repeat is None else (lambda v: tensor(v)[repeat])
        weight = pick(kernel.kernel).permute(4, 3, 0, 1, 2)
        x = F.conv3d(x, weight, None, stride, padding, groups=groups)
        parts = (pick(getattr(norm, part)) for part in ("mean", "var", "scale", "bias"))
        return F.batch_norm(x, *parts, eps=1e-5)

    def same(size):
        return tuple((n - 1) // 2 for n in size)

    def shortcut(x, block, stride, repeat):
        if max(stride) > 1:
            x = F.avg_pool3d(x, stride, stride, ceil_mode=True, count_include_pad=False)
        if "shortcut1_conv" in block.layers:
            x = conv(x, block, "shortcut1", 1, 0, 1, repeat)
        return x

    x = torch.tensor(clips).permute(0, 4, 1, 2, 3)
    x = conv(x, net.stem, "main1", (1, 2, 2), (1, 1, 1), 1, None).relu()
    c_in = SMALL.stem.width
    for stage, made in zip(SMALL.stages, net.stages, strict=True):
        size = (stage.kernel_t, stage.kernel, stage.kernel)
        for place in range(stage.depth):
            first = place == 0
            block, repeat = (made.first, None) if first else (made.rest, place - 1)
            stride = (stage.stride_t, stage.stride, stage.stride) if first else (1, 1, 1)
            if stage.block == "basic":
                y = conv(x, block, "main1", 1, same(size), 1, repeat).relu()
                y = conv(y, block, "main2", stride, same(size), 1, repeat)
                x = (y + shortcut(x, block, stride, repeat)).relu()
                continue
            is_mobile = stage.block == "mbconv_se"
            act = F.silu if is_mobile else F.relu
            groups = stage.inner if is_mobile else 1
            y = act(conv(x, block, "main1", 1, 0, 1, repeat))
            y = act(conv(y, block, "main2", stride, same(size), groups, repeat))
            if is_mobile:
                gate = F.silu(conv(y.mean((2, 3, 4), True), block, "se1", 1, 0, 1, repeat))
                y = y * conv(gate, block, "se2", 1, 0, 1, repeat).sigmoid()
            y = conv(y, block, "main3", 1, 0, 1, repeat)
            if not is_mobile or not first or c_in == stage.width:
                y = y + shortcut(x, block, stride, repeat)
            x = act(y)
        c_in = stage.width
    x = conv(x, net.final, "main1", 1, 0, 1, None).relu().mean((2, 3, 4))
    (dense,) = (layer for name, layer in net.head.layers.items() if name.endswith("dense"))
    return (x @ tensor(dense.kernel) + tensor(dense.bias)).numpy()


def test_forms_for_cpus_give_the_same_logits_and_gradients():
    clips = clips_of(SMALL)
    found = {}
    for cpu_convs in (False, True):
        net = net_of(SMALL, cpu_convs=cpu_convs, scan=False)
        graph, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)

        def loss(params, graph=graph, stats=stats):
            return jnp.square(nnx.merge(graph, params, stats, copy=True)(clips)).sum()

        value, slopes = jax.jit(jax.value_and_grad(loss))(params)
        found[cpu_convs] = (value, jax.tree.leaves(slopes))
    np.testing.assert_allclose(found[True][0], found[False][0], rtol=1e-5)
    for ours, theirs in zip(found[True][1], found[False][1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_folded_and_scanned_networks_give_the_same_logits():
    net, clips = net_of(SMALL, scan=False), clips_of(SMALL)
    expected = logits_of(net, clips)
    np.testing.assert_allclose(logits_of(net.with_folded_batch_norm(), clips), expected, **CLOSE)
    np.testing.assert_allclose(logits_of(net_of(SMALL, scan=True), clips), expected, **CLOSE)


def test_stochastic_depth_and_dropout_draw_for_each_clip():
    net = net_of(SMALL, drop_path=0.9, dropout=0.5, scan=False)
    one = clips_of(SMALL, batch=1)
    clips = jnp.broadcast_to(one, (6, *one.shape[1:]))
    step = nnx.jit(lambda net, x, key: net(x, True, key))
    found = np.asarray(step(net, clips, jax.random.key(0)))
    # Equal clips: what differs between their logits was drawn.
    assert len(np.unique(found[:, 0])) == len(clips)


def test_a_map_of_each_level_has_its_frames():
    net = nnx.eval_shape(lambda: Network(SMALL, rngs=nnx.Rngs(0)))
    maps = nnx.eval_shape(lambda net, x: net.features(x), net, clips_of(SMALL))
    assert [m.shape for m in maps] == [(2, 5, 6, 8, 8), (2, 3, 3, 4, 12), (2, 2, 2, 2, 20)]
    assert [f.stride for f in net.feature_info] == [2, 4, 8]


def test_images_are_refused_by_name():
    net = nnx.eval_shape(lambda: Network(SMALL, rngs=nnx.Rngs(0)))
    with pytest.raises(UserError, match=r"clips are an array of shape .* \(batch, frames, height"):
        net(np.zeros((2, 12, 15, 3), np.float32))
    images = dataclasses.replace(
        SMALL,
        frames=0,
        stem=Stem(8),
        stages=tuple(dataclasses.replace(s, kernel_t=1, stride_t=1) for s in SMALL.stages),
    )
    net = nnx.eval_shape(lambda: Network(images, rngs=nnx.Rngs(0)))
    with pytest.raises(UserError, match="images are an array of shape"):
        net(clips_of(SMALL))
