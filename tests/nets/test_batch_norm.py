"""BatchNorm beside PyTorch's own: outputs in training and evaluation, and what is kept between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.nets.batch_norm import BatchNorm, normalised

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("shape", [(2, 2, 2, 3), (4, 1, 1, 3)])
def test_three_batches_leave_pytorchs_running_statistics(shape):
    rng = np.random.default_rng(0)
    ours = BatchNorm(3, momentum=0.7, epsilon=1e-5, rngs=nnx.Rngs(0))
    theirs = torch.nn.BatchNorm2d(3, momentum=0.3)
    for _ in range(3):
        batch = rng.normal(1.0, 2.0, shape).astype(np.float32)
        expected = theirs(torch.tensor(batch.transpose(0, 3, 1, 2))).detach().numpy()
        found = ours(jnp.asarray(batch), use_running_average=False)
        np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    # Eight and four numbers a channel: divided by n, what is added would be 12 and 25 percent less.
    np.testing.assert_allclose(ours.mean[...], theirs.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(ours.var[...], theirs.running_var.numpy(), rtol=1e-5)
    expected = theirs.eval()(torch.tensor(batch.transpose(0, 3, 1, 2))).detach().numpy()
    found = ours(jnp.asarray(batch), use_running_average=True)
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_evaluation_and_a_single_pixel_leave_finite_statistics():
    norm = BatchNorm(2, momentum=0.9, rngs=nnx.Rngs(0))
    before = np.array(norm.var[...])
    norm(jnp.ones((4, 2, 2, 2)) * 7.0, use_running_average=True)
    np.testing.assert_array_equal(norm.var[...], before)
    norm(jnp.ones((1, 1, 1, 2)), use_running_average=False)
    np.testing.assert_allclose(norm.var[...], 0.9 * before, rtol=1e-6)


def test_gradients_are_those_of_the_formula():
    """Of the batch, scale and bias, through the output and through both statistics."""

    def plain(x, scale, bias):
        axes = (0, 1, 2)
        mean = x.mean(axes)
        var = ((x - mean) ** 2).mean(axes)
        return (x - mean) / jnp.sqrt(var + 0.1) * scale + bias, mean, var

    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        given = [jnp.asarray(rng.normal(size=shape)) for shape in [(3, 4, 2, 5), (5,), (5,)]]
        found, back = jax.vjp(lambda *args: normalised(*args, 0.1), *given)
        expected, back_of_plain = jax.vjp(plain, *given)
        gradients = tuple(jnp.asarray(rng.normal(size=value.shape)) for value in expected)
        for a, b in zip(
            (*found, *back(gradients)), (*expected, *back_of_plain(gradients)), strict=True
        ):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_narrow_batches_are_summed_in_float32():
    x = (10 + jnp.arange(2048.0).reshape(8, 16, 16, 1) % 2).astype(jnp.bfloat16)
    (y, mean, var), back = jax.vjp(lambda x: normalised(x, jnp.ones(1), jnp.zeros(1), 0.0), x)
    assert (y.dtype, mean[0], var[0]) == (jnp.float32, 10.5, 0.25)
    (dx,) = back((y, mean, var))
    assert dx.dtype == jnp.bfloat16
