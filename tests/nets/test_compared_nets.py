"""Swin, DeiT, PVT, T2T-ViT, TNT, SLaK and RepLKNet give what their authors' code gave."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.arch import compared_nets, cost, layer_table
from deepmad_jax.errors import UserError
from deepmad_jax.interop import from_network, load_into
from deepmad_jax.nets import Network, adapt
from tests.nets.compared_nets import ARCHITECTURES, CLASSIFIERS, loaded, recorded

# Seen: 2e-6. The smallest slip that was tried, a GELU by tanh, gives 1.7e-4.
TOLERANCE = 5e-5


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


# Scans of every family are among the slow tests: the three kinds of them are here.
SCANNED = ("swin_w4_a", "deit_a", "tnt_a")
CASES = [
    *((name, False) for name in CLASSIFIERS),
    *(
        pytest.param(name, True, marks=[] if name in SCANNED else pytest.mark.slow)
        for name in CLASSIFIERS
    ),
]


@pytest.mark.parametrize(("name", "scan"), CASES)
def test_logits_are_those_of_the_authors_code(name, scan):
    net, checks = loaded(name, scan), recorded(name)[2]
    logits = jax.jit(lambda x: net(x))(checks["__input__"].transpose(0, 2, 3, 1))
    close(logits, checks["__logits__"])


@pytest.mark.parametrize("name", ["deit_a", "pvt_a"])
def test_positions_follow_another_size_of_image(name):
    net, checks = loaded(name), recorded(name)[2]
    logits = jax.jit(lambda x: net(x))(checks["__input2__"].transpose(0, 2, 3, 1))
    close(logits, checks["__logits2__"])


@pytest.mark.parametrize("scan", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_swin_under_a_detector_gives_the_recorded_maps_of_an_image_its_windows_do_not_divide(scan):
    net, checks = loaded("swin_features_a", scan), recorded("swin_features_a")[2]
    maps = jax.jit(lambda x: net.features(x))(checks["__input__"].transpose(0, 2, 3, 1))
    for i, (found, info) in enumerate(zip(maps, net.feature_info, strict=True)):
        assert found.shape[-1] == info.channels
        close(found.transpose(0, 3, 1, 2), checks[f"__feature{i}__"])


@pytest.mark.parametrize("scan", [False, True])
def test_windows_of_every_second_block_are_shifted_in_a_stage_of_any_depth(scan):
    torch = pytest.importorskip("torch")
    from tests.nets.torch_compared import swin

    arch = compared_nets.swin("deep", 8, (1, 5), (1, 2), 2, 32, 5)
    net = Network(arch, rngs=nnx.Rngs(0), scan=scan)
    rng = np.random.default_rng(0)
    # The first values are so small that a missing shift would hardly show.
    weights = {key: rng.normal(size=a.shape) / 4 for key, a in from_network(net).items()}
    load_into(net, weights)
    images = rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    tensors = {key: torch.tensor(a, dtype=torch.float32) for key, a in weights.items()}
    expected = swin(tensors, torch.tensor(images), arch).numpy()
    logits = jax.jit(lambda x: net(x))(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_params_and_frozen_numbers_are_those_recorded_and_those_of_the_rows(name):
    facts, net = recorded(name)[0], loaded(name)
    sizes = [leaf.size for leaf in jax.tree.leaves(nnx.state(net, nnx.Param))]
    assert sum(sizes) == facts["params"] == cost.params(layer_table(net.arch))


def test_merged_kernels_are_the_recorded_ones_and_change_nothing():
    net = loaded("replknet_a").with_merged_kernels()
    _, weights, checks = recorded("replknet_a_merged")
    found = from_network(net)
    for key, array in weights.items():
        # Seen: 2e-7 of the value; ours is folded in float64, theirs in float32.
        np.testing.assert_allclose(found[key], array, rtol=1e-5, atol=1e-6)
    images = recorded("replknet_a")[2]["__input__"].transpose(0, 2, 3, 1)
    close(jax.jit(lambda x: net(x))(images), checks["__logits__"])
    sizes = [leaf.size for leaf in jax.tree.leaves(nnx.state(net, nnx.Param))]
    assert sum(sizes) == recorded("replknet_a_merged")[0]["params"]


def test_slaks_strips_stay_side_by_side_when_merged_and_nothing_changes():
    net, checks = loaded("slak_a"), recorded("slak_a")[2]
    one = net.with_merged_kernels()
    assert "wide1_conv" in one.stages[0].first.layers
    assert "small1_conv" not in one.stages[0].first.layers
    logits = jax.jit(lambda x: one(x))(checks["__input__"].transpose(0, 2, 3, 1))
    close(logits, checks["__logits__"])


def test_a_network_without_convs_side_by_side_is_not_merged():
    with pytest.raises(UserError, match="swin_a cannot be merged"):
        loaded("swin_a").with_merged_kernels()


def test_every_residual_branch_of_a_block_is_dropped_by_itself():
    block = loaded("deit_a").stages[0].first
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, 17, 32)), jnp.float32)
    run = jax.jit(lambda *keep: block(x, False, jnp.asarray(keep).reshape(2, 1, 1, 1, 1)))
    np.testing.assert_array_equal(run(0.0, 0.0), x)
    first, second, both = run(1.0, 0.0), run(0.0, 1.0), run(1.0, 1.0)
    for a, b in ((first, second), (first, both), (second, both), (first, x), (second, x)):
        assert float(jnp.abs(a - b).max()) > 1e-2


def test_stochastic_depth_draws_a_number_for_every_branch_and_image():
    arch = ARCHITECTURES["tnt_a"]
    net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0), drop_path=0.5))
    (factors,) = net._keep_paths(jax.random.key(0), 400)
    assert factors.shape == (2, 4, 400, 1, 1, 1)  # blocks, additions of a block, images
    np.testing.assert_array_equal(factors[0], 1.0)
    kept = np.asarray(factors[1] > 0).reshape(4, 400)
    # Half of 400 are kept, five deviations of 10 either way; and no two branches agree.
    assert (abs(kept.sum(1) - 200) < 50).all()
    assert all((kept[i] != kept[j]).sum() > 100 for i in range(4) for j in range(i))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("deit_a", [(4, 6, 32)]),
        ("tnt_a", [(4, 6, 32)]),
        ("pvt_a", [(16, 24, 16), (8, 12, 24), (4, 6, 40), (2, 3, 48)]),
    ],
)
def test_features_are_maps_without_the_class_token(name, shapes):
    net = loaded(name)
    maps = jax.eval_shape(lambda x: net.features(x), jnp.zeros((1, 64, 96, 3)))
    assert [found.shape[1:] for found in maps] == shapes
    for info, found in zip(net.feature_info, maps, strict=True):
        assert (info.channels, 64 // info.stride) == (found.shape[-1], found.shape[1])


@pytest.mark.parametrize("scan", [False, True])
def test_words_and_tokens_train_with_stochastic_depth(scan):
    net = loaded("tnt_a", scan, drop_path=0.5)
    images = jnp.ones((3, 64, 64, 3))
    found = jax.eval_shape(lambda x, key: net(x, True, key), images, jax.random.key(0))
    assert found.shape == (3, 10)


def test_a_frozen_swin_shifts_its_windows_as_before():
    net, checks = loaded("swin_a"), recorded("swin_a")[2]
    frozen = adapt.freeze_before(net, 8)
    # The head's norm and classifier are left.
    assert len(jax.tree.leaves(nnx.state(frozen, nnx.Param))) == 4
    close(
        jax.jit(lambda x: frozen(x))(checks["__input__"].transpose(0, 2, 3, 1)),
        checks["__logits__"],
    )
