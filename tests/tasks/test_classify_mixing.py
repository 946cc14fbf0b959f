import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.config import DataConfig
from deepmad_jax.tasks.classify.mixing import erase, erased_area, kept_share, mix

SIDE, CLASSES = 16, 5


def keys(count, seed=0):
    return np.random.default_rng(seed).integers(2**32, size=(count, 2), dtype=np.uint32)


def numbered(count):
    """Images of their own number, and targets of one class each."""
    images = jnp.arange(count, dtype=jnp.float32)[:, None, None, None]
    return jnp.broadcast_to(images, (count, SIDE, SIDE, 3)), jax.nn.one_hot(
        jnp.arange(count), count
    )


def shares(config, draws=400):
    """``draws`` maps of what remains of a batch's pixels."""
    some = jax.random.split(jax.random.key(0), draws)
    return np.asarray(jax.jit(jax.vmap(lambda k: kept_share(k, SIDE, SIDE, config)))(some))


@pytest.mark.parametrize(
    ("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)], ids=["mixup", "cutmix", "both"]
)
def test_target_holds_the_share_of_each_image_that_is_there(mixup, cutmix):
    config = DataConfig(mixup=mixup, cutmix=cutmix)
    images, targets = numbered(6)
    for seed in range(8):
        mixed, soft = mix(keys(6, seed), images, targets, config)
        # Image i mixes the numbers i and 5 - i, so its mean tells how much of each there is.
        expected = (np.asarray(soft) * np.arange(6)).sum(-1)
        np.testing.assert_allclose(mixed.mean((1, 2, 3)), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(soft.sum(-1), 1, rtol=1e-6)
        assert (np.asarray(soft)[~(np.eye(6) + np.eye(6)[::-1]).astype(bool)] == 0).all()


def test_mixup_shares_follow_the_beta_distribution():
    maps = shares(DataConfig(mixup=0.8))
    assert (maps == maps[:, :1, :1]).all()
    # Beta(a, a): mean a half, variance 1 / (4 (2a + 1)) = 0.0962; five deviations of 400 draws.
    assert maps[:, 0, 0].mean() == pytest.approx(0.5, abs=0.08)
    assert maps[:, 0, 0].var() == pytest.approx(0.0962, abs=0.025)


def test_cutmix_leaves_all_of_a_pixel_or_nothing_inside_one_box():
    maps = shares(DataConfig(cutmix=1.0))
    assert set(np.unique(maps)) == {0.0, 1.0}
    for kept in maps:
        rows, columns = (kept == 0).any(1), (kept == 0).any(0)
        assert (kept == 0).sum() == rows.sum() * columns.sum()
        assert abs(rows.sum() - columns.sum()) <= SIDE // 2  # a square, cut off at the borders
    # Uncut boxes take 1 - Beta(1, 1): a half on average; the borders cut off about a quarter.
    assert 0.5 < maps.mean() < 0.8


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_cutmix_takes_the_place_of_mixup_with_the_switch_probability(probability):
    maps = shares(DataConfig(mixup=0.8, cutmix=1.0, switch_probability=probability))
    boxed = ((maps == 0) | (maps == 1)).all((1, 2))
    assert boxed.mean() == pytest.approx(probability, abs=0.12)  # five deviations


def test_erased_rectangles_have_the_published_areas_and_aspects():
    some = jax.random.split(jax.random.key(0), 600)
    draw = jax.jit(jax.vmap(lambda k: erased_area(k, 64, 64, 1.0)))
    areas, aspects = [], []
    for erased in np.asarray(draw(some)):
        rows, columns = erased.any(1).sum(), erased.any(0).sum()
        assert erased.sum() == rows * columns > 0
        areas.append(erased.mean())
        aspects.append(rows / columns)
    # Whole pixels: a 9 x 9 rectangle may be off by 1 / 9.
    assert 0.017 < min(areas) < 0.03
    assert 0.31 < max(areas) < 0.345
    assert np.mean(areas) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    assert 0.27 < min(aspects) < 0.35
    assert 1 / 0.35 < max(aspects) < 1 / 0.27


def test_images_are_erased_with_the_probability():
    some = jax.random.split(jax.random.key(1), 1000)
    erased = jax.jit(jax.vmap(lambda k: erased_area(k, 8, 8, 0.2).any()))(some)
    assert erased.mean() == pytest.approx(0.2, abs=0.065)  # five deviations


@pytest.mark.parametrize("fill", ["noise", "mean"])
def test_erasing_fills_with_normal_noise_or_the_mean_and_leaves_the_rest(fill):
    config = DataConfig(random_erasing=1.0, erasing_fill=fill)
    images = jnp.full((32, SIDE, SIDE, 3), 7.0)
    result = np.asarray(jax.jit(lambda k, x: erase(k, x, config))(keys(32), images))
    inside = result[result != 7.0]
    assert 0.05 < inside.size / result.size < 0.3
    if fill == "mean":
        assert (inside == 0).all()
    else:
        assert inside.mean() == pytest.approx(0, abs=0.1)
        assert inside.std() == pytest.approx(1, abs=0.1)
    # Every image another rectangle.
    assert len({(image != 7.0).tobytes() for image in result}) > 28


def test_same_keys_give_the_same_batch_and_others_another():
    config = DataConfig(mixup=0.8, cutmix=1.0, random_erasing=0.5)
    images, targets = numbered(6)

    def run(seed):
        mixed, soft = mix(keys(6, seed), images, targets, config)
        return np.asarray(erase(keys(6, seed), mixed, config)), np.asarray(soft)

    one, two, three = run(0), run(0), run(1)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one[0] != three[0]).any()
