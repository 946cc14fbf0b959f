import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deepmad_jax.config import DataConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.tasks.classify.mixing import erase, erased_area, mix

SIDE = 16


def keys(count, seed=0):
    return np.random.default_rng(seed).integers(2**32, size=(count, 2), dtype=np.uint32)


RECIPES = {
    "mixup": DataConfig(mixup=0.8),
    "cutmix": DataConfig(cutmix=1.0),
    "both": DataConfig(mixup=0.8, cutmix=1.0, switch_probability=0.3),
}


@pytest.fixture(scope="module")
def draws():
    """For each recipe, of 400 batches of images 0, 1, ..., 5: the images and the targets mixed."""
    images = jnp.broadcast_to(jnp.arange(6.0)[:, None, None, None], (6, SIDE, SIDE, 1))

    def run(config):
        function = jax.jit(jax.vmap(lambda k: mix(k, images, jnp.eye(6), config)))
        mixed, targets = function(keys(6 * 400).reshape(400, 6, 2))
        return np.asarray(mixed[..., 0]), np.asarray(targets)

    return {name: run(config) for name, config in RECIPES.items()}


def kept(mixed):
    """How much of every pixel of the last image remains: of 5 it is mixed with 0."""
    return mixed[:, 5] / 5


@pytest.mark.parametrize("name", RECIPES)
def test_target_holds_the_share_of_each_image_that_is_there(draws, name):
    mixed, targets = draws[name]
    # Image i mixes the numbers i and 5 - i, so its mean tells how much of each there is.
    expected = (targets * np.arange(6)).sum(-1)
    np.testing.assert_allclose(mixed.mean((2, 3)), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)
    assert (targets[:, ~(np.eye(6) + np.eye(6)[::-1]).astype(bool)] == 0).all()


def test_mixup_shares_follow_the_beta_distribution(draws):
    maps = kept(draws["mixup"][0])
    np.testing.assert_allclose(maps, np.broadcast_to(maps[:, :1, :1], maps.shape), rtol=1e-6)
    # Beta(a, a): mean a half, variance 1 / (4 (2a + 1)) = 0.0962; five deviations of 400 draws.
    assert maps[:, 0, 0].mean() == pytest.approx(0.5, abs=0.08)
    assert maps[:, 0, 0].var() == pytest.approx(0.0962, abs=0.025)


def test_cutmix_leaves_all_of_a_pixel_or_nothing_inside_one_box(draws):
    maps = kept(draws["cutmix"][0])
    assert set(np.unique(maps)) == {0.0, 1.0}
    for map_ in maps:
        rows, columns = (map_ == 0).any(1), (map_ == 0).any(0)
        assert (map_ == 0).sum() == rows.sum() * columns.sum()
        assert abs(rows.sum() - columns.sum()) <= SIDE // 2  # a square, cut off at the borders
    # Uncut boxes take 1 - Beta(1, 1): a half on average; the borders cut off about a quarter.
    assert 0.5 < maps.mean() < 0.8


def test_cutmix_takes_the_place_of_mixup_with_the_switch_probability(draws):
    maps = kept(draws["both"][0])
    boxed = ((maps == 0) | (maps == 1)).all((1, 2))
    assert boxed.mean() == pytest.approx(0.3, abs=0.12)  # five deviations


@pytest.fixture(scope="module")
def areas():
    """1,000 draws of what is erased of 32 x 32 pixels, by probability."""
    some = jax.random.split(jax.random.key(0), 1000)
    draw = jax.jit(lambda p: jax.vmap(lambda k: erased_area(k, 32, 32, p))(some))
    return {probability: np.asarray(draw(probability)) for probability in (0.2, 1.0)}


def test_erased_rectangles_have_the_published_areas_and_aspects(areas):
    rows, columns = areas[1.0].any(2).sum(1), areas[1.0].any(1).sum(1)
    np.testing.assert_array_equal(areas[1.0].sum((1, 2)), rows * columns)
    shares, aspects = rows * columns / 32**2, rows / columns
    # Whole pixels: the smallest rectangles, about 20 pixels, are off by up to a quarter.
    assert 0.014 < shares.min() < 0.03
    assert 0.31 < shares.max() < 0.35
    assert shares.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    assert 0.22 < aspects.min() < 0.35
    assert 1 / 0.35 < aspects.max() < 1 / 0.22


def test_images_are_erased_with_the_probability(areas):
    share = areas[0.2].any((1, 2)).mean()
    assert share == pytest.approx(0.2, abs=0.065)  # five deviations


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


def test_same_keys_give_the_same_batch_and_others_another(draws):
    mixed, _ = draws["both"]
    again, _ = jax.jit(
        lambda k: mix(
            k,
            jnp.broadcast_to(jnp.arange(6.0)[:, None, None, None], (6, SIDE, SIDE, 1)),
            jnp.eye(6),
            RECIPES["both"],
        )
    )(keys(6 * 400).reshape(400, 6, 2)[7])
    np.testing.assert_allclose(again[..., 0], mixed[7], rtol=1e-6)
    assert (mixed[7] != mixed[8]).any()


def test_each_of_several_groups_is_mixed_as_a_batch_of_its_own():
    images = jax.random.normal(jax.random.key(0), (12, SIDE, SIDE, 2))
    config = RECIPES["both"]
    of_all = keys(12)
    mixed, targets = mix(of_all, images, jnp.eye(12), dataclasses.replace(config, mix_groups=3))
    for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
        alone, of_alone = mix(of_all[part], images[part], jnp.eye(12)[part], config)
        np.testing.assert_allclose(mixed[part], alone, atol=1e-6)
        np.testing.assert_allclose(targets[part], of_alone, atol=1e-6)


def test_groups_that_do_not_divide_the_batch_are_refused():
    config = dataclasses.replace(RECIPES["both"], mix_groups=5)
    with pytest.raises(InvalidConfig, match=r"mix_groups is 5.*12 images"):
        mix(keys(12), jnp.zeros((12, 4, 4, 1)), jnp.eye(12), config)


MOVES = """
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from deepmad_jax.config import DataConfig
from deepmad_jax.tasks.classify.mixing import mix
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("data"))
shapes = ((8, 2), jnp.uint32), ((8, 16, 16, 3), jnp.float32), ((8, 5), jnp.float32)
given = [jax.ShapeDtypeStruct(*shape, sharding=split) for shape in shapes]
for groups in (1, 4, 8):
    config = DataConfig(mixup=0.8, cutmix=1.0, mix_groups=groups)
    function = jax.jit(lambda *args: mix(*args, config), out_shardings=split)
    text = function.lower(*given).compile().as_text()
    moves = ("collective-permute", "all-to-all", "all-gather")
    print(sum(text.count(f"{name}(") for name in moves))
"""


def test_groups_on_one_device_send_no_image_to_another():
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    command = [sys.executable, "-c", MOVES]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    whole, *grouped = map(int, done.stdout.split())
    assert whole > 0
    assert grouped == [0, 0]
