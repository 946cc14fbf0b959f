import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deepmad_jax.train.sparsity import sparse

EVERY, MOVED, TOTAL = 3, 0.5, 12


@pytest.fixture(scope="module")
def run():
    """Params and masks after each step of SGD on noise; rate 0.1, two fifths zero."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    params = {
        "stem": {"kernel": draw(8, 8), "bias": draw(8)},
        # A first kernel whose weights hardly matter, and stacked ones of two blocks.
        "rest": {"kernel": jnp.stack([0.1 * draw(10, 20), draw(10, 20)])},
    }
    optimizer = sparse(optax.sgd(0.1), 0.4, EVERY, MOVED, TOTAL, seed=1)
    state, step, found = optimizer.init(params), jax.jit(optimizer.update), []
    for _ in range(8):
        gradients = jax.tree.map(lambda w: draw(*w.shape), params)
        before = params
        updates, state = step(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        found.append((before, params, state.masks, gradients))
    return found


def kernels(tree):
    return [tree["stem"]["kernel"], *tree["rest"]["kernel"]]


def test_two_fifths_of_all_weights_are_zero_after_every_step(run):
    for _, params, masks, _ in run:
        flat = np.concatenate([np.ravel(kernel) for kernel in kernels(params)])
        assert (flat == 0).sum() == round(0.4 * flat.size)
        assert np.asarray(params["stem"]["bias"]).all()
        for kernel, mask in zip(kernels(params), kernels(masks), strict=True):
            np.testing.assert_array_equal(np.asarray(kernel)[~np.asarray(mask)], 0)


def test_the_first_step_keeps_of_each_kernel_as_many_as_snip_does(run):
    before, _, masks, gradients = run[0]
    scores = [np.abs(w * g) for w, g in zip(kernels(before), kernels(gradients), strict=True)]
    threshold = np.quantile(np.concatenate([s.ravel() for s in scores]), 0.4)
    expected = [int((score > threshold).sum()) for score in scores]
    kept = [int(mask.sum()) for mask in kernels(masks)]
    assert kept == expected
    assert kept[1] < 0.6 * 200 < kept[2]


def test_places_move_at_the_times_given_from_the_smallest_weights_to_zeros(run):
    for step in range(1, 8):
        earlier, later = kernels(run[step - 1][2]), kernels(run[step][2])
        weights = kernels(run[step][0])
        for old, new, w in zip(earlier, later, weights, strict=True):
            old, new, w = (np.asarray(a) for a in (old, new, w))
            assert old.sum() == new.sum()
            if step % EVERY:
                np.testing.assert_array_equal(old, new)
                continue
            share = 0.5 * MOVED * (1 + np.cos(np.pi * step / TOTAL))
            given_up = int(np.floor(share * old.sum()))
            # Some of those given up may be drawn again, so fewer places may differ.
            assert 0 < (old & ~new).sum() <= given_up
            smallest = np.sort(np.abs(w[old]))[:given_up].max()
            assert np.abs(w[old & ~new]).max() <= smallest


def test_what_is_kept_moves_as_without_zeros(run):
    before, after, masks, gradients = run[1]
    for w, new, mask, g in zip(*map(kernels, (before, after, masks, gradients)), strict=True):
        expected = np.where(mask, w - 0.1 * g, 0)
        np.testing.assert_allclose(new, expected, rtol=1e-6, atol=1e-7)
