import collections

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from deepmad_jax.config import DataConfig
from deepmad_jax.data import open_dataset
from deepmad_jax.data.digits import DIGITS_MEAN, DIGITS_STD
from deepmad_jax.errors import InvalidConfig


def open_source(source, resolution_px=16, channels=1, classes=10, **fields):
    config = DataConfig(source=source, **fields)
    return open_dataset(config, resolution_px=resolution_px, channels=channels, classes=classes)


@pytest.fixture(scope="module")
def digits():
    return open_source("digits")


def test_digits_are_1437_and_360_stratified(digits):
    assert (len(digits.train), len(digits.evaluation)) == (1437, 360)
    train, test = (
        collections.Counter(s.labels.tolist()) for s in (digits.train, digits.evaluation)
    )
    for label in range(10):
        share = test[label] / (train[label] + test[label])
        assert share == pytest.approx(360 / 1797, abs=0.003)  # half an image of about 180


def test_digits_are_the_bilinear_enlargement_of_every_original_once(digits):
    originals, _ = load_digits(return_X_y=True)
    # JAX's own resize is the independent word on half-pixel centres.
    expected = np.asarray(
        jax.image.resize(originals.reshape(-1, 8, 8) / 16.0, (1797, 16, 16), "bilinear")
    )
    ours = np.concatenate([digits.train.images, digits.evaluation.images])[..., 0]
    assert ours.dtype == np.uint8
    # Sorted the same way, both are the same set of images; half a grey level from rounding.
    as_rows = np.round(255 * expected.astype(np.float64)).reshape(1797, -1)
    ours, as_rows = (a[np.lexsort(a.T)] for a in (ours.reshape(1797, -1).astype(float), as_rows))
    assert np.abs(ours - as_rows).max() <= 1


def test_digits_split_is_the_same_every_time(digits):
    again = open_source("digits")
    np.testing.assert_array_equal(digits.evaluation.images, again.evaluation.images)
    np.testing.assert_array_equal(digits.train.labels, again.train.labels)


def test_digits_normalisation_is_that_of_the_training_images(digits):
    values = digits.train.images / 255
    assert values.mean() == pytest.approx(DIGITS_MEAN, abs=5e-4)
    assert values.std() == pytest.approx(DIGITS_STD, abs=5e-4)


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 1000)])
def test_mean_colour_of_a_fake_image_tells_its_label(channels, classes):
    fake = open_source("fake", 32, channels, classes, fake_images=2 * classes)
    # Learnt from one image of a class, tested on the other.
    colour = np.array([fake.train[i]["image"].mean((0, 1)) for i in range(2 * classes)])
    nearest = np.abs(colour[classes:, None] - colour[None, :classes]).sum(-1).argmin(-1)
    assert (nearest == np.arange(classes)).all()
    assert [fake.train[i]["label"] for i in range(classes, 2 * classes)] == list(range(classes))


def test_fake_images_are_the_same_every_time_and_not_shared_between_splits():
    one, two = open_source("fake"), open_source("fake")
    np.testing.assert_array_equal(one.train[5]["image"], two.train[5]["image"])
    assert (one.train[5]["image"] != one.train[15]["image"]).any()
    assert (one.train[5]["image"] != one.evaluation[5]["image"]).any()
    assert one.train[5]["image"].dtype == np.uint8


def test_misspelt_source_is_refused_with_the_nearest_one():
    with pytest.raises(InvalidConfig, match="did you mean 'digits'"):
        open_source("digit")


@pytest.mark.parametrize(("channels", "classes"), [(3, 10), (1, 100)])
def test_network_of_other_channels_or_classes_is_refused(channels, classes):
    with pytest.raises(InvalidConfig, match=r"in_channels=1 --config\.design\.classes=10"):
        open_source("digits", channels=channels, classes=classes)


def test_no_fake_images_are_refused():
    with pytest.raises(InvalidConfig, match="fake_images is 0"):
        open_source("fake", fake_images=0)
