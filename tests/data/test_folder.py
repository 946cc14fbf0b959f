import os

import numpy as np
import pytest
from jpeg_set import jpeg, picture
from PIL import Image

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset
from deepmad_jax.errors import InvalidConfig, MissingData, UserError


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
    with pytest.raises(InvalidConfig, match=r"val has the classes d, which the training .* do not"):
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


RUBBISH = (
    ".ipynb_checkpoints/0.jpg",
    ".git/objects/a.png",
    "__MACOSX/ant/0.jpg",
    "@eaDir/thumb.jpg",
    ".DS_Store",
    "Thumbs.db",
    "ant/._0.JPEG",
    "ant/.DS_Store",
    "ant/Thumbs.db",
    "ant/desktop.ini",
    "ant/.ipynb_checkpoints/0-checkpoint.jpg",
    "ant/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg",
    "ant/deeper/.hidden/1.jpg",
)


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_file_managers_hide_is_neither_image_nor_class(tmp_path, split, capfd):
    for name in ("train", "val"):
        write(tmp_path, name, {"ant": 2, "bee": 1, "cow": 1})
    config, clean = open_folder(tmp_path)
    for name in RUBBISH:
        path = tmp_path / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rubbish")
    _, dataset = open_folder(tmp_path)
    assert (dataset.train, dataset.evaluation) == (clean.train, clean.evaluation)
    assert dataset.train.classes == ("ant", "bee", "cow")
    (batch,) = eval_batches(dataset, config, batch_size=4)
    assert batch["mask"].all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [(), ("notes.txt",), ("photo.heic",), ("._0.jpg",)])
def test_folder_without_an_image_is_no_class_and_is_told(tmp_path, capfd, content):
    for split in ("train", "val"):
        write(tmp_path, split, {"ant": 2, "bee": 1, "cow": 1})
        (tmp_path / split / "ape").mkdir()
        for name in content:
            (tmp_path / split / "ape" / name).write_bytes(b"no image")
    _, dataset = open_folder(tmp_path)
    assert dataset.train.classes == ("ant", "bee", "cow")
    assert [dataset.train[i]["label"] for i in range(4)] == [0, 0, 1, 2]
    assert capfd.readouterr().err == (
        f"{tmp_path}/train has folders without an image, which are no classes: ape\n"
    )


def test_class_whose_training_folder_is_empty_is_refused_where_it_is_evaluated(tmp_path):
    write(tmp_path, "train", {"ant": 2, "bee": 0, "cow": 1})
    write(tmp_path, "val", {"ant": 1, "bee": 1, "cow": 1})
    with pytest.raises(InvalidConfig, match=r"classes bee, which the training images .* not have"):
        open_folder(tmp_path)


def test_class_that_nothing_tests_is_told(tmp_path, capfd):
    write(tmp_path, "train", {"ant": 2, "bee": 1, "cow": 1})
    write(tmp_path, "val", {"ant": 1, "cow": 1})
    _, dataset = open_folder(tmp_path)
    assert [dataset.evaluation[i]["label"] for i in range(2)] == [0, 2]
    assert f"{tmp_path}/val has no image of these classes" in capfd.readouterr().err


def test_many_folders_without_images_are_told_in_one_line(tmp_path, capfd):
    for split in ("train", "val"):
        write(tmp_path, split, {"ant": 2, "bee": 1, "cow": 1})
    for i in range(9):
        (tmp_path / "train" / f"empty{i}").mkdir()
    open_folder(tmp_path)
    assert "empty0, empty1, empty2, empty3, empty4 and 4 more\n" in capfd.readouterr().err


def test_folder_named_like_an_image_is_no_image(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, split, {"ant": 2, "bee": 1, "cow": 1})
        (tmp_path / split / "ant" / "album.jpg").mkdir()
    _, dataset = open_folder(tmp_path)
    assert len(dataset.train) == 4


def test_links_are_followed_and_lead_to_no_end(tmp_path):
    write(tmp_path / "elsewhere", ".", {"ant": 2, "bee": 1, "cow": 1})
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for name in ("ant", "bee", "cow"):
            (tmp_path / split / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "ant" / "again").symlink_to(tmp_path / "elsewhere" / "ant")
    _, dataset = open_folder(tmp_path)
    assert dataset.train.paths == ("ant/0.JPEG", "ant/deeper/1.JPEG", "bee/0.JPEG", "cow/0.JPEG")


def test_folder_that_may_not_be_listed_is_named(tmp_path, monkeypatch):
    write(tmp_path, "train", {"ant": 2, "bee": 1, "cow": 1})
    write(tmp_path, "val", {"ant": 2, "bee": 1, "cow": 1})
    listing = os.scandir

    def refuses(path):  # whoever runs the tests may be root, who may list every folder
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuses)
    with pytest.raises(UserError, match=r"Cannot list .*train/bee: Permission denied"):
        open_folder(tmp_path)


@pytest.mark.parametrize("ending", ["tif", "TIFF", "gif", "ppm", "bmp", "webp", "PNG"])
def test_images_of_every_kind_are_found(tmp_path, ending):
    kind = {"tif": "TIFF", "tiff": "TIFF"}.get(ending.lower(), ending.upper())
    for split in ("train", "val"):
        (tmp_path / split / "ant").mkdir(parents=True)
        Image.new("RGB", (20, 20), (0, 255, 0)).save(tmp_path / split / "ant" / f"0.{ending}", kind)
    config = DataConfig(source="folder", data_dir=str(tmp_path))
    dataset = open_dataset(config, resolution_px=16, channels=3, classes=1)
    (batch,) = eval_batches(dataset, config, batch_size=1)
    assert np.abs(batch["image"].astype(int) - (0, 255, 0)).max() <= 4  # WebP's rounding


def test_home_of_the_user_is_found(tmp_path, monkeypatch):
    for split in ("train", "val"):
        write(tmp_path / "images", split, {"ant": 2, "bee": 1, "cow": 1})
    monkeypatch.setenv("HOME", str(tmp_path))
    _, dataset = open_folder("~/images")
    assert dataset.train.root == f"{tmp_path}/images/train"
