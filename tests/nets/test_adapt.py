"""Networks less their classifier, with BatchNorm frozen, with BatchNorm folded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.nets import Network

ARCH = Architecture(
    "small",
    resolution=21,
    in_channels=3,
    classes=5,
    stem=Stem(8),
    stages=(Stage("basic", 8, 6, 3, 3, 2), Stage("mbconv_se", 12, 16, 3, 2, 1)),
    final_width=10,
)


@functools.cache
def network(scan=False):
    """With random statistics, scales and biases: the initial ones would hide any slip."""
    net = Network(ARCH, rngs=nnx.Rngs(0), scan=scan)
    rng = np.random.default_rng(0)
    for path, leaf in nnx.to_flat_state(nnx.state(net)):
        if path[-1] != "kernel":
            leaf[...] = jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32)
    head = net.head.layers["head1_dense"].kernel
    head[...] = head[...] * 100
    return net


@functools.cache
def images():
    return np.random.default_rng(1).normal(size=(3, 21, 21, 3)).astype(np.float32)


@functools.cache
def logits():
    net = network()
    return np.asarray(jax.jit(lambda x: net(x))(images()))


@pytest.mark.parametrize("scan", [False, True])
def test_folding_batch_norm_leaves_the_function_and_no_batch_norm(scan):
    folded = network(scan).with_folded_batch_norm()
    assert np.ptp(logits()) > 1
    found = jax.jit(lambda x: folded(x))(images())
    np.testing.assert_allclose(found, logits(), rtol=0, atol=1e-4)  # seen: 2e-6
    paths = dict(nnx.to_flat_state(nnx.state(folded)))
    assert {path[-1] for path in paths} == {"kernel", "bias"}
    assert nnx.state(folded, nnx.BatchStat) == nnx.State({})


def test_a_network_without_classifier_gives_the_mean_of_its_last_map():
    net = network().without_classifier()
    maps, pooled = jax.jit(lambda x: (net.features(x), net(x)))(images())
    assert pooled.shape == (3, 10)
    np.testing.assert_allclose(pooled, np.asarray(maps[-1]).mean((1, 2)), rtol=1e-5)
    assert not [path for path, _ in nnx.to_flat_state(nnx.state(net)) if path[0] == "head"]


def test_frozen_batch_norm_trains_kernels_only_and_by_the_running_statistics():
    net = network().with_frozen_batch_norm()
    graphdef, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    names = {path[-1] for path in dict(nnx.to_flat_state(params))}
    dense = [path for path, _ in nnx.to_flat_state(params) if path[-1] == "bias"]
    assert names == {"kernel", "bias"}
    assert dense == [("head", "layers", "head1_dense", "bias")]

    @jax.jit
    def train(params, stats, x):
        def loss(params):
            net = nnx.merge(graphdef, params, stats, copy=True)
            out = net(x, train=True)
            return (out**2).sum(), (out, nnx.state(net, nnx.BatchStat))

        return jax.grad(loss, has_aux=True)(params)

    grads, (out, after) = train(params, stats, images())
    np.testing.assert_allclose(out, logits(), rtol=0, atol=1e-4)
    for (path, before), (_, now) in zip(
        nnx.to_flat_state(stats), nnx.to_flat_state(after), strict=True
    ):
        np.testing.assert_array_equal(before[...], now[...], err_msg=str(path))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


def test_a_frozen_network_trains_inside_a_closure():
    # Without frozen statistics Flax refuses: a closed-over Variable would change.
    net = network().with_frozen_batch_norm()
    out = jax.jit(lambda x: net(x, train=True))(images())
    np.testing.assert_allclose(out, logits(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [Network.without_classifier, Network.with_frozen_batch_norm, Network.with_folded_batch_norm],
)
def test_the_original_stays_as_it_was(change):
    net = network()
    before = {path: leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(net))}
    graph = nnx.graphdef(net)
    change(net)
    after = nnx.to_flat_state(nnx.state(net))
    assert [path for path, _ in after] == list(before)
    for path, leaf in after:
        np.testing.assert_array_equal(leaf[...], before[path])
    assert nnx.graphdef(net) == graph
