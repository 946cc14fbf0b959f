import numpy as np
import pytest
from segment_fixtures import load

from deepmad_jax.tasks.segment.loss import IGNORED
from deepmad_jax.tasks.segment.scores import scores_of


@pytest.fixture(scope="module")
def fixture():
    return load("miou")


def confusion_of(fixture):
    classes = int(fixture["num_classes"])
    table = np.zeros((classes, classes), np.int64)
    images = sorted({name.split("/")[0] for name in fixture if name.startswith("img")})
    assert images
    for image in images:
        label, guess = fixture[f"{image}/label"], fixture[f"{image}/pred"]
        known = label != IGNORED
        np.add.at(table, (label[known], guess[known]), 1)
    return table


def test_scores_are_those_of_mmsegmentation(fixture):
    found = scores_of(confusion_of(fixture))
    for name in ("mIoU", "mAcc", "aAcc"):
        np.testing.assert_allclose(getattr(found, name.lower()), fixture[name], rtol=1e-6)
    np.testing.assert_allclose(found.iou, fixture["IoU"], rtol=1e-6)
    np.testing.assert_allclose(found.accuracy, fixture["Acc"], rtol=1e-6)
    np.testing.assert_array_equal(found.pixels, fixture["label_area"])


def test_a_class_that_is_only_guessed_counts_as_zero_and_an_absent_one_not():
    found = scores_of(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    assert found.iou[0] == 0.75
    assert found.iou[1] == 0
    assert np.isnan(found.iou[2])
    assert found.miou == 0.375
    assert found.macc == 0.75


def test_a_set_without_labels_has_no_scores():
    assert np.isnan(scores_of(np.zeros((2, 2))).miou)
