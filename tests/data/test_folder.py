import numpy as np
import pytest
from jpeg_set import jpeg, picture

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset
from deepmad_jax.errors import InvalidConfig, MissingData


def write(root, split, counts):
    """``counts`` images of each class, the class's number in red (see `picture`)."""
    for label, (name, count) in enumerate(counts.items()):
        (root / split / name / "deeper").mkdir(parents=True)
        for i in range(count):
            file = root / split / name / ("deeper" if i % 2 else ".") / f"{i}.JPEG"
            file.write_bytes(jpeg(picture(3 * i + label)))
        (root / split / name / "notes.txt").write_text("no image")


def open_folder(root, **fields):
    config = DataConfig(source="folder", data_dir=str(root), **fields)
    return config, open_dataset(config, resolution_px=16, channels=3, classes=3)


@pytest.mark.parametrize("evaluation", ["val", "validation"])
def test_folder_is_read_with_its_classes_in_alphabetical_order(tmp_path, evaluation):
    write(tmp_path, "train", {"ant": 2, "bee": 3, "cow": 1})
    write(tmp_path, evaluation, {"ant": 1, "bee": 4, "cow": 2})
    config, dataset = open_folder(tmp_path)
    assert [dataset.train[i]["label"] for i in range(6)] == [0, 0, 1, 1, 1, 2]
    (batch,) = eval_batches(dataset, config, batch_size=7)
    assert np.bincount(batch["label"]).tolist() == [1, 4, 2]
    red = batch["image"][..., 0].mean((1, 2))
    np.testing.assert_array_equal(np.round((red - 30) / 90), batch["label"])


def test_folders_of_other_names_are_read(tmp_path):
    write(tmp_path, "mine", {"a": 1, "b": 1, "c": 1})
    write(tmp_path, "yours", {"a": 2, "b": 1, "c": 1})
    _, dataset = open_folder(tmp_path, train_split="mine", eval_split="yours")
    assert (len(dataset.train), len(dataset.evaluation)) == (3, 4)


def test_evaluation_class_without_training_images_is_refused(tmp_path):
    write(tmp_path, "train", {"a": 1, "b": 1, "c": 1})
    write(tmp_path, "val", {"a": 1, "d": 1})
    with pytest.raises(InvalidConfig, match="has the classes d, which the training images do not"):
        open_folder(tmp_path)


def test_missing_folder_says_where_it_looked(tmp_path):
    with pytest.raises(MissingData, match=rf"no folder {tmp_path}/train.*CLASS/\*\.jpg"):
        open_folder(tmp_path)
    write(tmp_path, "train", {"a": 0})
    write(tmp_path, "val", {"a": 0})
    with pytest.raises(MissingData, match=rf"no image in {tmp_path}/train"):
        open_folder(tmp_path)


def test_network_of_four_channels_is_refused(tmp_path):
    config = DataConfig(source="folder", data_dir=str(tmp_path))
    with pytest.raises(InvalidConfig, match=r"takes 4 channels.*grey \(1\) or RGB"):
        open_dataset(config, resolution_px=16, channels=4, classes=3)


def test_folder_must_be_named():
    config = DataConfig(source="folder")
    with pytest.raises(InvalidConfig, match=r"--config\.data\.data_dir=DIR"):
        open_dataset(config, resolution_px=16, channels=3, classes=3)
