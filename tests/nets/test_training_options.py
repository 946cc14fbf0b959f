"""Zero-initialised branches, stochastic depth, dropout and rematerialisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.errors import UserError
from deepmad_jax.nets import Network

ARCH = Architecture(
    "options", 8, 1, 8, Stem(8, 3, 1), (Stage("basic", 8, 6, 3, 2, 1), Stage("k1kx", 8, 6, 3, 2, 1))
)
IMAGES = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype(np.float32)
RATE = 0.5


def network(arch=ARCH, **options):
    return Network(arch, rngs=nnx.Rngs(0), **{"scan": False, "zero_init": False} | options)


def last_map(net, **call):
    return np.asarray(net.features(jnp.asarray(IMAGES), **call)[-1])


def test_silenced_branches_hand_on_the_shortcut_and_other_blocks_do_not_care():
    net = network(zero_init=True)
    np.testing.assert_array_equal(last_map(net, train=True), net.stem(jnp.asarray(IMAGES), True))
    # An MBConv that changes the width has no shortcut; nothing would come out of it.
    unjoined = Architecture("u", 8, 1, 8, Stem(8, 3, 1), (Stage("mbconv", 12, 24, 3, 1, 1),))
    ours, other = network(unjoined, zero_init=True), network(unjoined)
    np.testing.assert_array_equal(last_map(ours), last_map(other))


@pytest.mark.parametrize("scan", [False, True])
def test_stochastic_depth_drops_the_last_block_at_its_rate_and_scales_the_rest(scan):
    one_stage = Architecture("d", 8, 1, 8, Stem(8, 3, 1), (Stage("basic", 8, 6, 3, 2, 1),))
    whole, short = network(one_stage), network(one_stage)
    short.stages[0].rest.layers["main2_norm"].scale[...] *= 0.0
    with_branch, without = last_map(whole, train=True), last_map(short, train=True)
    dropping = network(one_stage, drop_path=RATE, scan=scan)
    ours = last_map(dropping, train=True, key=jax.random.key(3))
    dropped = np.array([np.allclose(a, b, atol=1e-5) for a, b in zip(ours, without, strict=True)])
    assert 20 < dropped.sum() < 44  # of 64: three standard deviations
    # Where the sum is positive, ReLU has not hidden the branch.
    seen = (with_branch > 0) & ~dropped[:, None, None, None]
    scaled = np.maximum(0, without + (with_branch - without) / (1 - RATE))
    np.testing.assert_allclose(ours[seen], scaled[seen], atol=1e-4)
    np.testing.assert_array_equal(last_map(dropping), last_map(whole))


def test_dropout_zeroes_inputs_of_the_classifier_and_scales_the_rest():
    net = network(dropout=RATE)
    net.head.layers["head1_dense"].kernel[...] = jnp.eye(8)
    pooled = np.asarray(net.features(jnp.asarray(IMAGES), True)[-1]).mean((1, 2))
    logits = np.asarray(net(jnp.asarray(IMAGES), train=True, key=jax.random.key(0)))
    zero = logits == 0
    assert 0.4 < zero.mean() < 0.6
    np.testing.assert_allclose(logits[~zero], pooled[~zero] / (1 - RATE), rtol=1e-5)
    assert not (np.asarray(net(jnp.asarray(IMAGES))) == 0).any()


def test_network_that_drops_asks_for_a_key():
    for options in ({"dropout": RATE}, {"drop_path": RATE}):
        with pytest.raises(UserError, match="call it with key="):
            network(**options)(jnp.asarray(IMAGES), train=True)


def gradients_of(**options):
    graphdef, params, stats = nnx.split(network(**options), nnx.Param, nnx.BatchStat)

    def loss(params):
        net = nnx.merge(graphdef, params, stats, copy=True)
        return (net(jnp.asarray(IMAGES), train=True) ** 2).sum(), nnx.state(net, nnx.BatchStat)

    function = jax.value_and_grad(loss, has_aux=True)
    return jax.jit(function)(params), str(jax.make_jaxpr(function)(params))


def test_rematerialisation_by_stage_changes_no_result():
    kept, kept_program = gradients_of()
    again, program = gradients_of(remat=True)
    for ours, other in zip(jax.tree.leaves(again), jax.tree.leaves(kept), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)
    # Every stage is in it twice, forward and backward: its convs are done again.
    convs = [text.count("conv_general_dilated[") for text in (kept_program, program)]
    assert convs[1] > convs[0]
