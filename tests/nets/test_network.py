import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxpr_walk import stacked_elements
from net_examples import EXAMPLES

from deepmad_jax.arch import Architecture, Layer, Stage, Stem, layer_table
from deepmad_jax.errors import UserError
from deepmad_jax.nets import Feature, Network
from deepmad_jax.nets.block import Block, average_pool
from deepmad_jax.nets.init import draw_kernels
from deepmad_jax.nets.stage import SCAN_BY_BACKEND

MIXED = Architecture(
    "mixed",
    resolution=24,
    in_channels=3,
    classes=5,
    stem=Stem(8),
    stages=(
        Stage("basic", 8, 6, 3, 2, 2),
        Stage("k1kx", 12, 8, 3, 2, 1),
        Stage("bottleneck", 16, 4, 3, 3, 2),
        Stage("mbconv_se", 16, 24, 5, 3, 1),
    ),
    final_width=20,
)
BASELINES = EXAMPLES["baselines, every kind, max pool"]
MOMENTUM = 0.3


@functools.cache
def images(size=MIXED.resolution, batch=4):
    return np.random.default_rng(0).normal(0.5, 2.0, (batch, size, size, 3)).astype(np.float32)


@functools.cache
def train_step(scan, arch=MIXED):
    """A training pass, used as a function over state, and its arguments."""
    # No silenced branches: nothing behind them would show.
    options = {"batch_norm_momentum": MOMENTUM, "zero_init": False}
    net = Network(arch, rngs=nnx.Rngs(0), scan=scan, **options)
    graphdef, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    params = jax.tree_util.tree_map_with_path(_awake, params)

    @jax.jit
    def step(params, stats, images):
        def loss(params):
            net = nnx.merge(graphdef, params, stats, copy=True)
            logits = net(images, train=True)
            return (logits**2).sum(), (logits, nnx.state(net, nnx.BatchStat))

        grads, (logits, new_stats) = jax.grad(loss, has_aux=True)(params)
        return logits, grads, new_stats

    return step, (params, stats, images())


def _awake(path, value):
    """Layer scales at 1: at their start of 1e-6 nothing behind them would show."""
    return jnp.ones_like(value) if "layer_scale" in str(path) else value


@functools.cache
def train_step_results(scan, arch=MIXED):
    """Parameters, statistics, and a pass's logits, gradients and new statistics."""
    step, (params, stats, x) = train_step(scan, arch)
    logits, grads, new_stats = step(params, stats, x)
    return flat(params), flat(stats), logits, flat(grads), flat(new_stats)


SETTINGS = {"rngs": nnx.Rngs(0), "dtype": jnp.float32, "batch_norm_momentum": 0.1}
"""Of a `Block`."""


def flat(state):
    return {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(state)}


# --- scan and loop --------------------------------------------------------------------------------


def test_scan_and_loop_share_state_layout_and_initial_values():
    for scanned, looped in zip(
        train_step_results(True)[:2], train_step_results(False)[:2], strict=True
    ):
        assert scanned.keys() == looped.keys()
        for path in scanned:
            np.testing.assert_array_equal(scanned[path], looped[path])


def test_scan_and_loop_agree_in_logits_gradients_and_statistics():
    _, _, logits, grads, stats = train_step_results(True)
    _, _, logits_loop, grads_loop, stats_loop = train_step_results(False)
    # The same operations in float32, which XLA may fuse and order otherwise: a few ulp, grown by
    # the divisions of 30 BatchNorms over batches of few pixels.
    np.testing.assert_allclose(logits, logits_loop, rtol=1e-4, atol=1e-6)
    for path in stats:
        np.testing.assert_allclose(stats[path], stats_loop[path], rtol=1e-4, atol=1e-6)
    for path in grads:
        scale = np.abs(grads_loop[path]).max()
        np.testing.assert_allclose(grads[path], grads_loop[path], rtol=0, atol=1e-3 * scale + 1e-6)


def test_a_scan_keeps_little_more_than_what_its_convs_give():
    step, arguments = train_step(True)
    kept = stacked_elements(jax.make_jaxpr(step)(*arguments).jaxpr)
    # Of the repeated blocks: each conv's output, the block's input, and a few numbers a channel.
    batch = len(images())
    rest = [row for row in layer_table(MIXED) if row.section.endswith(".rest")]
    given = sum(
        row.repeat * batch * row.layer.c_out * row.layer.r_out**2
        for row in rest
        if row.layer.kind == "conv"
    )
    entered = sum(
        (stage.depth - 1) * batch * stage.width * r**2
        for stage, r in zip(MIXED.stages, (6, 6, 3, 3), strict=True)
    )
    assert given < kept < 1.1 * (given + entered)


@pytest.mark.parametrize("arch", [MIXED, BASELINES], ids=["designed", "baselines"])
def test_every_parameter_gets_a_gradient_and_every_statistic_moves(arch):
    _, old_stats, _, grads, new_stats = train_step_results(True, arch)
    for path, grad in grads.items():
        assert np.abs(grad).max() > 0, path
    for path, new in new_stats.items():
        # Each block's own, in the stacked ones too.
        stacked = "rest" in path
        old, new = (a if stacked else a[None] for a in (old_stats[path], new))
        assert (np.abs(new - old).max(axis=1) > 0).all(), path


def test_gradient_is_the_slope_of_the_loss_along_itself():
    step, (params, stats, x) = train_step(True)
    _, grads, _ = step(params, stats, x)
    params, grads = jax.tree.map(np.asarray, (params, grads))
    norm = sum((g**2).sum() for g in jax.tree.leaves(grads)) ** 0.5

    def loss(distance):
        moved = jax.tree.map(lambda p, g: p + distance / norm * g, params, grads)
        logits, _, _ = step(moved, stats, x)
        return (np.asarray(logits, np.float64) ** 2).sum()

    distance = 1e-3  # seen: 0.2 % off here, 1.6 % at 1e-2, where ReLUs change sides
    slope = (loss(distance) - loss(-distance)) / (2 * distance)
    assert slope == pytest.approx(float(norm), rel=0.02)


def test_scan_is_by_backend_unless_said():
    net = nnx.eval_shape(lambda: Network(MIXED, rngs=nnx.Rngs(0)))
    assert {stage.scan for stage in net.stages} == {SCAN_BY_BACKEND[jax.default_backend()]}


# --- statistics -----------------------------------------------------------------------------------


def test_running_statistics_take_the_momentums_share_of_the_unbiased_batch_statistics():
    params, _, _, _, stats = train_step_results(False)
    stem = convolve(images(), params["stem", "layers", "main1_conv", "kernel"], stride=2)
    mean, var = stem.mean((0, 1, 2)), stem.var((0, 1, 2), ddof=1)
    path = ("stem", "layers", "main1_norm")
    np.testing.assert_allclose(stats[(*path, "mean")], MOMENTUM * mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        stats[(*path, "var")], (1 - MOMENTUM) * 1.0 + MOMENTUM * var, rtol=1e-4
    )


def convolve(x, kernel, stride):
    """A conv by its definition, with padding (k - 1) / 2, in float64."""
    k = kernel.shape[0]
    pad = (k - 1) // 2
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), (1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ijcd->nhwd", windows, kernel)


def test_evaluation_leaves_the_statistics_and_works_on_a_closed_over_network():
    net = Network(EXAMPLES["basic, grouped"], rngs=nnx.Rngs(0))
    before = flat(nnx.state(net))
    x = images(32, 2)
    assert jax.jit(lambda x: net(x))(x).shape == (2, 7)
    for path, value in flat(nnx.state(net)).items():
        np.testing.assert_array_equal(value, before[path])


def test_evaluation_in_bfloat16_does_not_round_the_running_statistics():
    norm = Layer("norm", "main", 1, 1, 1, 1)
    conv = Layer("conv", "main", 1, 1, 1, 1)
    block = Block([conv, norm], rngs=nnx.Rngs(0), dtype=jnp.bfloat16, batch_norm_momentum=0.1)
    block.layers["main1_conv"].kernel[...] = jnp.ones((1, 1, 1, 1))
    block.layers["main1_norm"].mean[...] = jnp.array([256.5])  # bfloat16 has 256 and 258
    out = block(jnp.full((1, 1, 1, 1), 256.0))
    assert out.dtype == jnp.bfloat16
    assert float(out[0, 0, 0, 0]) == -0.5  # of deviation 1, give or take epsilon / 2


# --- types and shapes -----------------------------------------------------------------------------


def test_bfloat16_computes_in_bfloat16_and_keeps_float32():
    def forward(dtype):
        net = Network(EXAMPLES["basic, grouped"], rngs=nnx.Rngs(0), dtype=dtype)
        graphdef, state = nnx.split(net)

        @jax.jit
        def run(state, x):
            net = nnx.merge(graphdef, state)
            maps = net.features(x, train=True)
            return maps, net.head(maps[-1]), nnx.state(net)

        return run(state, images(32))

    maps, logits, state = forward(jnp.bfloat16)
    assert {m.dtype for m in maps} == {jnp.dtype("bfloat16")}
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32")}
    # bfloat16 has 8 bits: the logits follow the float32 ones within some percent of their size.
    _, reference, _ = forward(jnp.float32)
    assert 0 < np.abs(logits - reference).max() < 0.1 * np.abs(reference).max()


@pytest.mark.parametrize("section", ["stem", *(f"stage{i}.first" for i in range(1, 7)), "head"])
def test_blocks_of_baselines_give_bfloat16_and_the_classifier_float32(section):
    layers = [row.layer for row in layer_table(BASELINES) if row.section == section]

    def run(x):
        settings = SETTINGS | {"rngs": nnx.Rngs(0), "dtype": jnp.bfloat16}
        return Block(layers, **settings)(x, train=True)

    out = jax.eval_shape(run, jax.ShapeDtypeStruct((1, 9, 9, layers[0].c_in), jnp.bfloat16))
    assert out.dtype == (jnp.float32 if section == "head" else jnp.bfloat16)


@pytest.mark.parametrize("name", EXAMPLES)
def test_features_are_as_announced_on_any_height_and_width(name):
    net = nnx.eval_shape(lambda: Network(EXAMPLES[name], rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(net)
    x = jax.ShapeDtypeStruct((2, 45, 70, net.arch.in_channels), "uint8")
    maps = jax.eval_shape(lambda s, x: nnx.merge(graphdef, s).features(x), state, x)
    logits = jax.eval_shape(lambda s, x: nnx.merge(graphdef, s)(x), state, x)
    assert [m.shape for m in maps] == [
        (2, -(-45 // f.stride), -(-70 // f.stride), f.channels) for f in net.feature_info
    ]
    assert logits.shape == (2, net.arch.classes)


def test_levels_start_at_strides_and_the_final_conv_closes_the_last():
    strides_widths = [(1, 16), (2, 24), (1, 32), (2, 48), (1, 64)]
    arch = Architecture(
        "levels",
        64,
        3,
        7,
        Stem(8),
        tuple(Stage("mbconv", width, 24, 3, 1, stride) for stride, width in strides_widths),
        final_width=100,
    )
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0)))
    assert net.feature_info == (
        Feature("level1", 2, 16),
        Feature("level2", 4, 32),
        Feature("level3", 8, 100),
    )
    without = dataclasses.replace(arch, stem=Stem(8, 3, 1), final_width=None)
    net = nnx.eval_shape(lambda: Network(without, rngs=nnx.Rngs(0)))
    assert net.feature_info == (
        Feature("level1", 1, 16),
        Feature("level2", 2, 32),
        Feature("level3", 4, 64),
    )


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 7), (5, 7), (1, 1)])
def test_average_pool_averages_the_pixels_that_exist(size):
    height, width = size
    x = np.random.default_rng(1).normal(size=(2, height, width, 3)).astype(np.float32)
    expected = [
        [x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in range(0, width, 2)]
        for i in range(0, height, 2)
    ]
    np.testing.assert_allclose(
        average_pool(jnp.asarray(x)), np.moveaxis(expected, 2, 0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (1, 1)])
def test_max_pool_takes_the_greatest_of_three_by_three_around_every_second_pixel(size):
    x = np.random.default_rng(1).normal(-3.0, 1.0, (2, *size, 3)).astype(np.float32)
    expected = [
        [
            x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max((1, 2))
            for j in range(0, size[1], 2)
        ]
        for i in range(0, size[0], 2)
    ]
    block = Block([Layer("max_pool", "main", 3, 3, 1, 1, 3, 2)], **SETTINGS)
    np.testing.assert_array_equal(block(jnp.asarray(x)), np.moveaxis(expected, 2, 0))


def test_an_untrained_convnext_block_is_almost_the_identity():
    arch = Architecture("a", 8, 3, 5, Stem(8), (Stage("convnext", 8, 32, 7, 1, 1),))
    rows = layer_table(arch)
    layers = [row.layer for row in rows if row.section == "stage1.first"]
    block = Block(layers, **SETTINGS)
    draw_kernels([block], jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32)
    moved = np.abs(jax.jit(lambda x: block(x))(x) - x).max()
    assert 0 < moved < 1e-4  # a layer scale of 1e-6


# --- initialisation -------------------------------------------------------------------------------


def test_kernels_start_he_normal_by_fan_out_and_blocks_differ():
    arch = Architecture(
        "wide",
        32,
        3,
        500,
        Stem(64),
        (Stage("mbconv", 96, 384, 5, 3, 2), Stage("bottleneck", 128, 64, 3, 3, 2, groups=4)),
    )
    net = Network(arch, rngs=nnx.Rngs(0), zero_init=False)
    arrays = flat(nnx.state(net))
    expected_std = {
        ("stages", 0, "rest", "layers", "main1_conv"): (2 / 384) ** 0.5,
        ("stages", 0, "rest", "layers", "main2_conv"): (2 / 25) ** 0.5,  # depthwise reaches one
        ("stages", 1, "first", "layers", "main2_conv"): (2 / (9 * 64 / 4)) ** 0.5,
        ("stages", 1, "first", "layers", "shortcut1_conv"): (2 / 128) ** 0.5,
        ("head", "layers", "head1_dense"): 0.01,
    }
    for path, std in expected_std.items():
        kernel = arrays[(*path, "kernel")]
        assert kernel.std() == pytest.approx(std, rel=5 * (2 * kernel.size) ** -0.5)  # 5 sigma
        assert abs(kernel.mean()) < 5 * std * kernel.size**-0.5
    first, second = arrays["stages", 0, "rest", "layers", "main1_conv", "kernel"]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    for path, value in arrays.items():
        if path[-1] != "kernel":
            np.testing.assert_array_equal(value, 1.0 if path[-1] in ("scale", "var") else 0.0)


def test_the_seed_decides_the_kernels():
    arch = EXAMPLES["k1kx, grouped, final conv"]
    one, same, other = (
        flat(nnx.state(Network(arch, rngs=nnx.Rngs(seed)), nnx.Param)) for seed in (1, 1, 2)
    )
    for path in one:
        np.testing.assert_array_equal(one[path], same[path])
        assert path[-1] != "kernel" or (one[path] != other[path]).all()


# --- mistakes -------------------------------------------------------------------------------------


def test_images_with_channels_first_are_refused_with_a_hint():
    net = nnx.eval_shape(lambda: Network(MIXED, rngs=nnx.Rngs(0)))
    with pytest.raises(UserError, match=r"\(2, 3, 24, 24\).*height, width, 3.*transpose"):
        net(jnp.zeros((2, 3, 24, 24)))


@pytest.mark.parametrize("momentum", [0.0, 1.5, -0.1])
def test_a_momentum_out_of_range_is_refused(momentum):
    with pytest.raises(UserError, match="share of the new batch"):
        Network(MIXED, rngs=nnx.Rngs(0), batch_norm_momentum=momentum)
