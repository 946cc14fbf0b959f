"""Max pooling as suits a CPU against Flax's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.nets.max_pool import max_pool


def flax_pool(x):
    return nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@pytest.mark.parametrize("shape", [(8, 8), (7, 6), (5, 9), (1, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_result_and_gradient_are_flax_s(shape, dtype):
    rng = np.random.default_rng(0)
    # Few values, so that many windows have several greatest pixels.
    x = jnp.asarray(rng.integers(-2, 3, size=(2, *shape, 3)), dtype)
    expected, back = jax.vjp(flax_pool, x)
    found, our_back = jax.vjp(max_pool, x)
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, expected)
    # Whole numbers: their sums are exact.
    dy = jnp.asarray(rng.integers(-9, 10, size=found.shape), dtype)
    (dx,), (expected_dx,) = our_back(dy), back(dy)
    assert dx.dtype == x.dtype
    np.testing.assert_array_equal(dx, expected_dx)
    assert np.count_nonzero(dx)
