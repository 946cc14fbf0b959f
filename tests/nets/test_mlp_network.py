"""The perceptron network: its size, its forward pass, and that it learns real digits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

from deepmad_jax.arch.mlp import MlpArchitecture
from deepmad_jax.design.perceptron.design import MlpProblem, design_mlp
from deepmad_jax.errors import UserError
from deepmad_jax.nets.mlp import Mlp

ARCH = MlpArchitecture("small", 64, (24, 24, 48), 10)


@pytest.fixture(scope="module")
def net():
    return Mlp(ARCH, rngs=nnx.Rngs(0))


def test_network_has_the_params_of_its_architecture(net):
    leaves = jax.tree.leaves(nnx.state(net, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == ARCH.num_params


def test_forward_pass_is_dense_relu_and_a_linear_head(net):
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    expected = x
    for layer in net.layers:
        expected = np.maximum(expected @ np.asarray(layer.kernel) + np.asarray(layer.bias), 0)
    expected = expected @ np.asarray(net.head.kernel) + np.asarray(net.head.bias)
    logits = net(jnp.asarray(x))
    assert logits.shape == (5, 10)
    # float32 sums of 64 terms.
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


def test_inputs_of_another_shape_are_refused(net):
    with pytest.raises(UserError, match="flatten"):
        net(jnp.zeros((2, 8, 8)))


def test_a_designed_perceptron_learns_digits():
    design = design_mlp(MlpProblem(num_stages=2, params=1e4, rho=0.1))
    images, labels = load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    # In the data set's own order: the last 360 come from other writers.
    seen, new = slice(0, 1437), slice(1437, None)
    graphdef, params = nnx.split(Mlp(design.architecture, rngs=nnx.Rngs(0)))
    optimizer = optax.adam(5e-3)

    def loss_of(params):
        logits = nnx.merge(graphdef, params)(images[seen])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[seen]).mean()

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            loss, gradient = jax.value_and_grad(loss_of)(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), length=100)

    (params, _), losses = run(params)
    predicted = nnx.merge(graphdef, params)(images[new]).argmax(-1)
    assert losses[0] == pytest.approx(np.log(10), rel=0.05)
    assert losses[-1] < 0.1
    assert (predicted == labels[new]).mean() > 0.85
