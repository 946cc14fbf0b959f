"""launch/prepare_data.py, on folders; TFDS's own sets need TensorFlow (marked slow)."""

import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from jpeg_set import jpeg, picture
from test_folder import write

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset

SCRIPT = Path(__file__).parents[2] / "launch" / "prepare_data.py"


def prepare(*arguments):
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder, data_dir = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("tfds")
    write(folder, "train", {"ant": 2, "bee": 3, "cow": 1})
    write(folder, "val", {"ant": 1, "bee": 4, "cow": 2})
    for name in (".ipynb_checkpoints", "empty"):  # no classes
        (folder / "train" / name).mkdir()
    code, said, errors = prepare("pets", "--folder", folder, "--data_dir", data_dir)
    assert code == 0, errors
    return folder, data_dir, said


def read(config):
    dataset = open_dataset(config, resolution_px=16, channels=3, classes=3)
    (batch,) = eval_batches(dataset, config, batch_size=7)
    order = np.lexsort((batch["image"].sum((1, 2, 3)), batch["label"]))
    return dataset, batch["image"][order], batch["label"][order]


def test_prepared_folder_holds_the_same_images_as_the_folder(prepared):
    folder, data_dir, said = prepared
    _, ours, labels = read(DataConfig(source="tfds", name="pets", data_dir=str(data_dir)))
    _, expected, expected_labels = read(DataConfig(source="folder", data_dir=str(folder)))
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(labels, expected_labels)
    assert "train: 6 images, 3 classes" in said
    assert f"--config.data.name=pets --config.data.data_dir={data_dir}" in said


def test_prepared_images_keep_their_file_names(prepared):
    _, data_dir, _ = prepared
    dataset, _, _ = read(DataConfig(source="tfds", name="pets", data_dir=str(data_dir)))
    names = {dataset.train.name_of(i) for i in range(6)}
    assert any(name.startswith("bee/deeper/1.JPEG (record ") for name in names)


def test_imagenet_without_its_tar_files_says_what_to_fetch(tmp_path):
    code, _, errors = prepare("imagenet2012", "--data_dir", tmp_path)
    assert code == 2
    assert "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar not found in" in errors
    assert str(tmp_path / "downloads" / "manual") in errors
    assert "156 GiB" in errors


def test_address_to_write_to_is_refused(tmp_path):
    code, _, errors = prepare("pets", "--folder", tmp_path, "--data_dir", "gs://bucket/tfds")
    assert code == 2
    assert "gs://bucket/tfds is an address, but only folders and files of this machine" in errors


def test_home_of_the_user_is_found(prepared, tmp_path, monkeypatch):
    folder, _, _ = prepared
    monkeypatch.setenv("HOME", str(folder.parent))
    given = ("--folder", f"~/{folder.name}", "--data_dir", f"~/{tmp_path.name}")
    code, said, errors = prepare("pets", *given)
    assert code == 0, errors
    assert f"Prepared {folder.parent / tmp_path.name / 'pets'}" in said


def tar_of(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            (path.parent / name).write_bytes(data)
            tar.add(path.parent / name, name)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="needs the extra 'prepare'"
)
@pytest.mark.slow
def test_imagenet_of_a_few_images_goes_from_its_tar_files_to_batches(tmp_path):
    """TFDS's own imagenet2012 code, on tar files of the real layout with three classes."""
    classes = ("n01440764", "n01443537", "n01484850")  # the first three, labels 0, 1 and 2
    for label, name in enumerate(classes):
        images = {f"{name}_{i}.JPEG": jpeg(picture(3 * i + label)) for i in range(4)}
        tar_of(tmp_path / f"{name}.tar", images)
    inner = {f"{name}.tar": (tmp_path / f"{name}.tar").read_bytes() for name in classes}
    tar_of(tmp_path / "ILSVRC2012_img_train.tar", inner)
    # TFDS knows the validation labels in the order of the file names; none of them is 0, 1 or 2.
    validation = {f"ILSVRC2012_val_{i + 1:08}.JPEG": jpeg(picture(i)) for i in range(5)}
    tar_of(tmp_path / "ILSVRC2012_img_val.tar", validation)
    data_dir = tmp_path / "tfds"
    code, said, errors = prepare("imagenet2012", "--data_dir", data_dir, "--manual_dir", tmp_path)
    assert code == 0, errors[-3000:]
    assert "train: 12 images, 1000 classes" in said
    config = DataConfig(name="imagenet2012", data_dir=str(data_dir), eval_split="train")
    dataset = open_dataset(config, resolution_px=16, channels=3, classes=1000)
    (batch,) = eval_batches(dataset, config, batch_size=12)
    red = np.round((batch["image"][..., 0].mean((1, 2)) - 30) / 90)
    np.testing.assert_array_equal(red, batch["label"])
    assert np.bincount(batch["label"]).tolist() == [4, 4, 4]
