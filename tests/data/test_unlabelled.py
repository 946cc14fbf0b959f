"""What happens to images whose label is none of the classes."""

import dataclasses

import jpeg_set
import numpy as np
import pytest

from deepmad_jax.config import DataConfig
from deepmad_jax.data import Dataset, eval_batches, open_dataset, train_batches
from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.data.digits import ArraySource
from deepmad_jax.errors import UserError

REFUSE = DataConfig(source="fake", train_augment="none")
DROP = dataclasses.replace(REFUSE, unlabelled="drop")
LABELS = (0, 1, -1, 2, 3, 1, -1)
USABLE = [0, 1, 2, 1]


def labelled(labels=LABELS, classes=3):
    """Images whose grey is their number."""
    images = np.arange(len(labels))[:, None, None, None] + np.zeros((1, 8, 8, 1))
    source = ArraySource(images.astype(np.uint8), np.array(labels, np.int64))
    return Dataset("seven", source, source, 1, classes, (0.5,), (0.25,), 8, framed=True)


@pytest.mark.parametrize(("label", "workers"), [(-1, 0), (-1, 1), (3, 0), (2**40, 0)])
def test_label_of_no_class_is_refused_with_the_name_of_the_image(label, workers):
    config = dataclasses.replace(REFUSE, workers=workers)
    message = rf"image 4 of seven has no usable label: its label is {label}.* 0 to 2.*drop"
    for batches in (
        train_batches(labelled([0, 1, 2, 0, label]), config, batch_size=5, seed=0),
        eval_batches(labelled([0, 1, 2, 0, label]), config, batch_size=5),
    ):
        with pytest.raises(UserError, match=message):
            next(batches)


def test_evaluation_counts_no_image_that_is_dropped(capfd):
    seen = list(eval_batches(labelled(), DROP, batch_size=4))
    labels, mask = (np.concatenate([b[name] for b in seen]) for name in ("label", "mask"))
    assert labels[mask == 1].tolist() == USABLE
    said = capfd.readouterr().err
    assert "dropped an image of seven without a usable label: image 2: its label is -1" in said
    assert said.count("without a usable label") == 1  # not a line for each
    assert "dropped 3 of the 7 images of seven" in said


def test_training_takes_the_next_image_of_the_epoch_for_one_that_is_dropped():
    everything = dataclasses.replace(labelled([0] * 7))
    order = next(train_batches(everything, REFUSE, batch_size=7, seed=3))["image"][:, 0, 0, 0]
    batch = next(train_batches(labelled(), DROP, batch_size=7, seed=3))
    for i, image in enumerate(batch["image"][:, 0, 0, 0]):
        after = [order[j % 7] for j in range(i, i + 7)]
        assert image == next(number for number in after if 0 <= LABELS[number] < 3)
        assert batch["label"][i] == LABELS[image]


def test_dropped_images_do_not_count_as_corrupt():
    batches = train_batches(labelled(), DROP, batch_size=70, seed=0)  # corrupt_share is 0.001
    next(batches)
    assert batches.get_state() == {"next_batch": 1, "corrupt": []}


def test_more_than_a_hundred_images_without_labels_in_a_row_end_no_training():
    batch = next(train_batches(labelled([-1] * 240 + [1]), DROP, batch_size=3, seed=0))
    assert batch["label"].tolist() == [1, 1, 1]


def test_data_set_without_any_usable_label_ends_the_run():
    with pytest.raises(
        CorruptData, match=r"7 images in a row of seven cannot be used.*label is -1"
    ):
        next(train_batches(labelled([-1] * 7), DROP, batch_size=3, seed=0))


def test_split_of_a_prepared_set_without_labels_is_named(tmp_path):
    class Unlabelled(jpeg_set.ColouredTiles):
        """TFDS writes -1 where a split has no labels."""

        name = "unlabelled"

        def _generate_examples(self, count=0):
            for i, element in super()._generate_examples(count):
                yield i, {**element, "label": -1 if count == jpeg_set.EVAL_IMAGES else 0}

    jpeg_set.prepare(Unlabelled, tmp_path)
    config = DataConfig(name="unlabelled", data_dir=str(tmp_path))
    dataset = open_dataset(config, resolution_px=16, channels=3, classes=jpeg_set.CLASSES)
    next(train_batches(dataset, config, batch_size=4, seed=0))
    with pytest.raises(UserError, match=r"\.jpg \(record 0 of validation\) of unlabelled has no"):
        next(eval_batches(dataset, config, batch_size=4))
