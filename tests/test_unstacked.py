import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.nets import Network
from deepmad_jax.tasks.task import split_network
from deepmad_jax.unstacked import Unstacked, blocks_of, stacked, unstacked

ARCH = Architecture("deep", 8, 1, 6, Stem(8, 3, 1), (Stage("basic", 8, 8, 3, 4, 2),))
IMAGES = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))


def loss_of(graphdef):
    def loss(params, stats, images):
        net = nnx.merge(graphdef, nnx.State(params), nnx.State(stats), copy=True)
        logits = net(images, train=True)
        return (logits**2).sum(), nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))

    return loss


def test_only_the_stacks_of_equal_blocks_are_cut_and_come_back_as_they_were():
    _, params, stats = split_network(Network(ARCH, rngs=nnx.Rngs(0)))
    tree = {"of the network": params, "other": {"rested": jnp.ones((3, 2))}, "stats": stats}
    cut = unstacked(tree)
    kinds = jax.tree_util.tree_leaves_with_path(cut, is_leaf=lambda x: isinstance(x, Unstacked))
    for path, leaf in kinds:
        assert isinstance(leaf, Unstacked) == ("'rest'" in jax.tree_util.keystr(path))
        assert not isinstance(leaf, Unstacked) or len(leaf.blocks) == 3
    back = stacked(cut)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_blocks_are_copies():
    stack = {"rest": jnp.arange(6.0).reshape(3, 2)}
    held = unstacked(stack)
    jax.jit(lambda tree: tree, donate_argnums=0)(held)
    np.testing.assert_array_equal(stack["rest"], np.arange(6.0).reshape(3, 2))


def test_blocks_of_either_are_the_same():
    array = jnp.arange(12.0).reshape(3, 2, 2)
    for held in (array, Unstacked(array)):
        for block, entry in zip(blocks_of(held), array, strict=True):
            np.testing.assert_array_equal(block, entry)


@pytest.mark.parametrize("settings", [{}, {"remat": True}, {"cpu_convs": True}], ids=str)
def test_loss_statistics_and_gradients_are_those_of_the_stacks(settings):
    graphdef, *variables = split_network(
        Network(ARCH, rngs=nnx.Rngs(0), scan=False, zero_init=False, **settings)
    )
    step = jax.jit(jax.value_and_grad(loss_of(graphdef), has_aux=True))
    expected = step(*variables, IMAGES)
    found = step(*map(unstacked, variables), IMAGES)
    (_, stats), grads = found
    for tree in (stats, grads):
        assert any(isinstance(x, Unstacked) for x in jax.tree.leaves(tree, is_leaf=_is_unstacked))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        stacked(found),
        expected,
    )


def _is_unstacked(node):
    return isinstance(node, Unstacked)
