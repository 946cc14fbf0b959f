import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.tasks.classify.loss import cross_entropy, in_top, normalise, soft_targets


def some_logits(dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 7)).astype(dtype), rng.integers(0, 7, size=40)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_loss_is_cross_entropy_against_smoothed_targets(smoothing):
    logits, labels = some_logits()
    log_p = logits.astype(float) - np.log(np.exp(logits.astype(float)).sum(1, keepdims=True))
    target = np.full((40, 7), smoothing / 7)
    target[np.arange(40), labels] += 1 - smoothing
    expected = -(target * log_p).sum(1)
    ours = cross_entropy(logits, soft_targets(labels, 7, smoothing))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_label_is_in_the_top_k_where_fewer_than_k_logits_are_larger(k):
    logits, labels = some_logits()
    larger = (logits > logits[np.arange(40), labels][:, None]).sum(1)
    np.testing.assert_array_equal(in_top(logits, labels, k), larger < k)


def test_top_5_of_fewer_classes_counts_every_image():
    logits, labels = some_logits()
    assert in_top(logits[:, :3], labels % 3, 5).tolist() == [1.0] * 40


def test_network_that_gives_nan_is_not_right():
    labels = jnp.arange(10)
    right = in_top(jnp.full((10, 10), jnp.nan), labels, 1)
    assert right.sum() <= 1


def test_images_are_normalised_per_channel_from_bytes():
    images = np.array([[[[0, 255], [51, 102]]]], np.uint8)
    values = normalise(images, (0.2, 0.5), (0.1, 0.25))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, [[[[-2, 2], [0, -0.4]]]], atol=1e-6)
