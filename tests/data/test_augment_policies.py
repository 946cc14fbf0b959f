"""The draws and arguments of RandAugment and AutoAugment against the published values."""

import collections

import numpy as np
import pytest
from jpeg_set import picture

from deepmad_jax.data.augment import augmentation, policies
from deepmad_jax.data.augment.policies import CIFAR_POLICY, RandAugment, parse
from deepmad_jax.errors import InvalidConfig

SIZE = (200, 100)  # height, width

# What timm's *_level_to_arg functions give for levels 0, 4.5, 9 and 10 and the positive sign,
# worked out by hand from their formulas: 30 level / 10, 4 - int(4 level / 10), 256 - int(256
# level / 10), int(110 level / 10), max(0.1, 1 + 0.9 level / 10), 0.3 level / 10, 0.45 level / 10
# of the side.
INCREASING = {
    "rotate": (0, 13.5, 27, 30),
    "posterize": (4, 3, 1, 0),
    "solarize": (256, 141, 26, 0),
    "solarize_add": (0, 49, 99, 110),
    "color": (1, 1.405, 1.81, 1.9),
    "contrast": (1, 1.405, 1.81, 1.9),
    "brightness": (1, 1.405, 1.81, 1.9),
    "sharpness": (1, 1.405, 1.81, 1.9),
    "shear_x": (0, 0.135, 0.27, 0.3),
    "shear_y": (0, 0.135, 0.27, 0.3),
    "translate_x": (0, 20.25, 40.5, 45),
    "translate_y": (0, 40.5, 81, 90),
}
# Without inc1 these differ, and have no sign: int(4 level / 10), int(256 level / 10), 0.1 + 1.8
# level / 10.
PLAIN = {
    "posterize": (0, 1, 3, 4),
    "solarize": (0, 115, 230, 256),
    "color": (0.1, 0.91, 1.72, 1.9),
    "sharpness": (0.1, 0.91, 1.72, 1.9),
}
# torchvision's ten bins at levels 0, 4 and 9: linspace(0, 30), 8 - round(level 4 / 9),
# linspace(255, 0), 1 + linspace(0, 0.9), int(linspace(0, 150 / 331 side)).
CIFAR = {
    "rotate": (0, 40 / 3, 30),
    "posterize": (8, 6, 4),
    "solarize": (255, 255 - 340 / 3, 0),
    "color": (1, 1.4, 1.9),
    "shear_y": (0, 0.4 / 3, 0.3),
    "translate_x": (0, 20, 45),
    "translate_y": (0, 40, 90),
}


@pytest.mark.parametrize("name", INCREASING)
def test_rand_augment_with_inc1_has_timms_arguments(name):
    levels = (0, 4.5, 9, 10)
    ours = [policies.increasing_argument(name, level, 1, SIZE) for level in levels]
    assert ours == pytest.approx(list(INCREASING[name]))


def test_rand_augment_factors_shrink_with_the_other_sign_but_not_below_a_tenth():
    ours = [policies.increasing_argument("color", level, -1, SIZE) for level in (0, 4.5, 9, 10)]
    assert ours == pytest.approx([1, 0.595, 0.19, 0.1])
    assert policies.increasing_argument("rotate", 9, -1, SIZE) == -27


@pytest.mark.parametrize("name", PLAIN)
def test_rand_augment_without_inc_has_timms_arguments(name):
    ours = [policies.plain_argument(name, level, -1, SIZE) for level in (0, 4.5, 9, 10)]
    assert ours == pytest.approx(list(PLAIN[name]))


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_policy_has_torchvisions_arguments(name):
    ours = [policies.cifar_argument(name, level, 1, SIZE) for level in (0, 4, 9)]
    assert ours == pytest.approx(list(CIFAR[name]))


def test_cifar_policy_is_the_papers():
    # Counted from the appendix of arXiv 1805.09501: 25 pairs, and how often each operation occurs.
    assert len(CIFAR_POLICY) == 25
    counts = collections.Counter(name for pair in CIFAR_POLICY for name, _, _ in pair)
    assert counts == {
        "equalize": 9,
        "auto_contrast": 7,
        "brightness": 4,
        "color": 5,
        "contrast": 2,
        "invert": 3,
        "posterize": 1,
        "rotate": 1,
        "sharpness": 5,
        "shear_y": 2,
        "solarize": 4,
        "translate_x": 2,
        "translate_y": 5,
    }


def test_rand_augment_draws_evenly_half_the_time_with_normal_levels():
    policy, rng = parse("rand-m9-mstd0.5-inc1"), np.random.default_rng(0)
    draws = [policy.draw(rng) for _ in range(6000)]
    counts = collections.Counter(name for draw in draws for name, _, _ in draw)
    # 12,000 drawn, half of them done: 400 of each of 15, deviation 20.
    assert counts.keys() == set(policies.OPS)
    assert all(300 < count < 500 for count in counts.values())
    lengths = collections.Counter(map(len, draws))
    assert lengths[0] / 6000 == pytest.approx(0.25, abs=0.03)
    assert lengths[2] / 6000 == pytest.approx(0.25, abs=0.03)
    levels = np.array([level for draw in draws for _, _, level in draw])
    assert np.median(levels) == pytest.approx(9, abs=0.05)
    assert (levels == 10).mean() == pytest.approx(0.0228, abs=0.01)  # beyond two deviations
    assert np.quantile(levels, 0.1587) == pytest.approx(8.5, abs=0.05)


def test_auto_augment_does_each_operation_with_its_own_probability():
    rng = np.random.default_rng(0)
    policy = policies.AutoAugment(((("invert", 1.0, 0), ("rotate", 0.2, 3)),))
    counts = collections.Counter(name for _ in range(2000) for name, _, _ in policy.draw(rng))
    assert counts["invert"] == 2000
    assert counts["rotate"] == pytest.approx(400, abs=90)  # five deviations


def test_jitter_changes_by_no_more_than_its_strength():
    image = np.full((4, 4, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    means = [policies.jitter(rng, image, 0.4).mean() for _ in range(300)]
    # Of one colour, contrast and saturation change nothing but by rounding.
    assert 58 <= min(means) < 65
    assert 135 < max(means) <= 141


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "rand-m10-n3", "cifar"])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_is_a_function_of_its_generator(policy, channels):
    augment = augmentation(policy, 0.4, (128,) * channels)
    image = np.ascontiguousarray(picture(3)[..., :channels])
    results = []
    for seed in (*range(40), *range(40)):
        result = augment(np.random.default_rng(seed), image)
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        results.append(result.tobytes())
    assert results[:40] == results[40:]
    assert len(set(results)) > 20


def test_no_augmentation_gives_the_image_back():
    image = picture(0)
    assert augmentation(None, 0.0, (0, 0, 0))(np.random.default_rng(0), image) is image


def test_policies_are_read_as_timm_writes_them():
    assert parse("rand-m7-n3", (1, 2, 3)) == RandAugment(7, 0, 3, False, (1, 2, 3))
    assert not parse("rand-m7-inc0").increasing


@pytest.mark.parametrize("text", ["rand-m11", "rand-x3", "randm9", "v0", "rand-m9-", "rand-m"])
def test_unknown_policy_is_refused_with_an_example(text):
    with pytest.raises(InvalidConfig, match=r"expected None, 'cifar', or .*rand-m9-mstd0\.5-inc1"):
        parse(text)
