"""A function over the last axis: what ``jax.vmap`` makes of it, element by element."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.design.search.lanes import log_of_positive, over_last

TABLE = np.array([[3.0, 5.0], [7.0, 9.0], [1.0, 2.0]])


def fused(x, y):
    return jnp.where(x > y, jnp.log(jnp.abs(x) + 1.0), 2.0 * y) + TABLE[:, 0]


def sliced(x, y):
    shifted = jnp.concatenate([y[:1], x[:-1], jnp.ones(1)])
    return shifted[1:] ** 2 / jnp.maximum(y, 0.5), shifted[::2].max(-1)


def reduced(x, y):
    return x.sum(-1), x.var(axis=-1), (x < y).all(-1), y.cumsum(-1), jnp.stack([x.min(), y[1]])


def shaped(x, y):
    return (x[:, None] == y[None, :]).sum(-1), jnp.reshape(x, (3, 1)).squeeze(-1), x.astype(int)


def gathered(x, y):
    # No rule of its own: an index that is mapped too, a sort, a product of matrices.
    index = jnp.argsort(x)
    return jnp.asarray(TABLE)[index, 1], y[index], TABLE.T @ x


def constant(x, y):
    return jnp.arange(3.0), 1.0


@pytest.mark.parametrize("f", [fused, sliced, reduced, shaped, gathered, constant])
def test_results_are_those_of_vmap_with_the_axis_last(f):
    rng = np.random.default_rng(0)
    x, y = np.rint(rng.normal(scale=3.0, size=(2, 3, 11)))
    with jax.enable_x64(True):
        found = jax.jit(over_last(f))(x, y)
        expected = jax.vmap(f, -1, -1)(x, y)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_no_axis_is_moved_by_what_the_search_evaluates():
    x = jnp.ones((3, 11))
    text = str(jax.make_jaxpr(over_last(lambda x, y: (*sliced(x, y), *reduced(x, y)[:4])))(x, x))
    assert "transpose" not in text


def test_logarithm_is_numpys_to_the_last_digits():
    rng = np.random.default_rng(0)
    near_one = 1.0 + np.concatenate([[0.0], 10.0 ** rng.uniform(-12, -0.5, 2000)])
    x = np.concatenate([10.0 ** rng.uniform(-300, 300, 20000), near_one, 1.0 / near_one])
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(log_of_positive)(x))
    np.testing.assert_allclose(found, np.log(x), rtol=1e-15, atol=0)
