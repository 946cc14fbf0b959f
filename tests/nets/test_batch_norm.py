"""BatchNorm beside PyTorch's own: outputs in training and evaluation, and what is kept between."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.nets.batch_norm import BatchNorm

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
