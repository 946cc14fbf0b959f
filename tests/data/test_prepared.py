import io
import json
import sys

import jpeg_set
import numpy as np
import pytest
import tensorflow_datasets as tfds
from written_by_hand import GREY, png

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset, train_batches
from deepmad_jax.data.record_source import RecordSource
from deepmad_jax.errors import InvalidConfig, MissingData


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    jpeg_set.prepare(jpeg_set.ColouredTiles, directory)
    jpeg_set.prepare(jpeg_set.Sentences, directory)
    return directory


def config_of(data_dir, name="coloured_tiles", **fields):
    return DataConfig(source="tfds", name=name, data_dir=str(data_dir), **fields)


def open_for_colour(config):
    return open_dataset(config, resolution_px=24, channels=3, classes=jpeg_set.CLASSES)


def labels_by_colour(images):
    # Red is 30, 120 or 210; JPEG and resizing move it by far less than half the distance.
    return np.round((images[..., 0].mean((1, 2)) - 30) / 90).astype(int)


def test_prepared_jpegs_are_read_decoded_and_framed_for_evaluation(data_dir):
    config = config_of(data_dir, eval_crop=0.8)
    batches = list(eval_batches(open_for_colour(config), config, batch_size=4))
    images = np.concatenate([b["image"] for b in batches])
    mask = np.concatenate([b["mask"] for b in batches]).astype(bool)
    labels = np.concatenate([b["label"] for b in batches])[mask]
    assert images.shape == (8, 24, 24, 3)
    assert images.dtype == np.uint8
    assert mask.sum() == jpeg_set.EVAL_IMAGES
    np.testing.assert_array_equal(labels_by_colour(images[mask]), labels)
    # TFDS shuffles when it prepares, so count the labels: 7 images of 3 classes in turn.
    assert np.bincount(labels).tolist() == [3, 2, 2]
    # The central 0.8 of the height: blue runs from a tenth to nine tenths of 255.
    assert images[mask][:, 0, :, 2].mean() == pytest.approx(0.117 * 255, abs=6)
    assert images[mask][:, -1, :, 2].mean() == pytest.approx(0.883 * 255, abs=6)


def test_prepared_jpegs_are_cropped_and_flipped_for_training(data_dir):
    config = config_of(data_dir, train_augment="crop")
    batches = train_batches(open_for_colour(config), config, batch_size=15, seed=0)
    epoch = [next(batches) for _ in range(2)]
    images = np.concatenate([b["image"] for b in epoch])
    labels = np.concatenate([b["label"] for b in epoch])
    assert images.shape == (30, 24, 24, 3)
    np.testing.assert_array_equal(labels_by_colour(images), labels)
    assert np.bincount(labels).tolist() == [10, 10, 10]
    # Green grows to the right in every file, so it falls in a flipped image.
    falls = images[:, :, 0, 1].mean(1) > images[:, :, -1, 1].mean(1)
    assert 5 <= falls.sum() <= 25
    widths = np.abs(images[:, :, -1, 1].mean(1) - images[:, :, 0, 1].mean(1))
    assert widths.max() > 1.5 * widths.min()  # crops of different sizes


def test_training_without_crop_frames_as_evaluation_does(data_dir):
    config = config_of(data_dir, train_augment="none", train_split="validation")
    dataset = open_for_colour(config)
    train = next(train_batches(dataset, config, batch_size=7, seed=0))["image"]
    evaluation = next(iter(eval_batches(dataset, config, batch_size=7)))["image"]
    assert sorted(i.tobytes() for i in train) == sorted(i.tobytes() for i in evaluation)


def test_reading_prepared_data_never_imports_tensorflow(data_dir):
    open_for_colour(config_of(data_dir))
    assert "tensorflow" not in sys.modules


def test_split_slices_are_read(data_dir):
    dataset = open_for_colour(config_of(data_dir, train_split="train[:50%]"))
    assert len(dataset.train) == 15


def test_damaged_image_in_a_record_is_named_by_its_file(data_dir, monkeypatch, capfd):
    config = config_of(data_dir, corrupt_share=0.2)
    dataset = open_for_colour(config)
    damaged = []

    def read(source, index):
        element = plain(source, index)
        if index != 3:
            return element
        damaged.append(source.name_of(index))
        return {**element, "image": element["image"][:300]}

    plain = RecordSource.__getitem__
    monkeypatch.setattr(RecordSource, "__getitem__", read)
    batches = list(eval_batches(dataset, config, batch_size=7))
    assert batches[0]["mask"].tolist() == [1, 1, 1, 0, 1, 1, 1]
    assert damaged[0].endswith(".jpg (record 3 of validation)")
    assert f"skipped a corrupt image of coloured_tiles: {damaged[0]}" in capfd.readouterr().err


def test_unknown_split_names_the_nearest(data_dir):
    with pytest.raises(InvalidConfig, match=r"eval_split is 'valid'.*did you mean 'validation'"):
        open_for_colour(config_of(data_dir, eval_split="valid"))


def test_joined_splits_are_read(data_dir):
    dataset = open_for_colour(config_of(data_dir, train_split="train[:50%]+train[50%:]"))
    assert len(dataset.train) == 30


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train[:1%]", r"train_split is 'train\[:1%\]', which holds no image .* larger share"),
        (
            "train[:x%]",
            r"(?s)'train\[:x%\]', which TFDS cannot read .*train\[:90%\]",
        ),
        ("train+tran", r"which .* does not have; did you mean 'train'"),
    ],
)
def test_splits_without_images_or_sense_are_refused(data_dir, split, message):
    with pytest.raises(InvalidConfig, match=message):
        open_for_colour(config_of(data_dir, train_split=split))


def test_data_set_without_images_is_refused(data_dir):
    with pytest.raises(InvalidConfig, match=r"features text.*needs 'image' and 'label'"):
        open_for_colour(config_of(data_dir, name="sentences"))


class Deep(tfds.core.GeneratorBasedBuilder):
    """Ramps from black to white of 16 bits."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(8, 9, 1), dtype=np.uint16, encoding_format="png")
        features = {"image": image, "label": tfds.features.ClassLabel(num_classes=1)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(), "validation": self._generate_examples()}

    def _generate_examples(self):
        ramp = np.linspace(0, 65535, 9).round().astype(int)[None].repeat(8, 0)
        yield 0, {"image": io.BytesIO(png(ramp, 16, GREY)), "label": 0}


def test_images_of_16_bits_run_from_black_to_white(tmp_path):
    jpeg_set.prepare(Deep, tmp_path)
    config = config_of(tmp_path, "deep", eval_crop=1.0)
    dataset = open_dataset(config, resolution_px=8, channels=1, classes=1)
    (batch,) = eval_batches(dataset, config, batch_size=1)
    # The central 8 of 9 columns, which are 32 grey levels apart: half a column at each end.
    columns = batch["image"][0, :, :, 0].mean(0)
    np.testing.assert_allclose(columns, np.linspace(16, 239, 8), atol=8)


def test_images_of_floats_are_refused(tmp_path):
    jpeg_set.prepare(Deep, tmp_path)
    features = next(tmp_path.rglob("features.json"))
    assert '"dtype": "uint16"' in features.read_text()
    features.write_text(features.read_text().replace('"uint16"', '"float32"'))
    with pytest.raises(InvalidConfig, match=r"images of deep are float32, and nothing says which"):
        open_dataset(config_of(tmp_path, "deep"), resolution_px=8, channels=1, classes=1)


def test_missing_imagenet_says_where_it_looked_and_what_to_do(tmp_path):
    with pytest.raises(MissingData) as error:
        open_for_colour(config_of(tmp_path, name="imagenet2012"))
    message = str(error.value)
    assert str(tmp_path / "imagenet2012") in message
    assert "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar" in message
    assert str(tmp_path / "downloads" / "manual") in message
    assert f"python launch/prepare_data.py imagenet2012 --data_dir {tmp_path}\n" in message
    assert "It takes 144 GiB for the two tar files, and 156 GiB" in message
    assert "--config.data.source=fake" in message


def test_other_missing_sets_ask_for_no_manual_download(tmp_path):
    with pytest.raises(MissingData) as error:
        open_for_colour(config_of(tmp_path, name="cifar100"))
    assert "ILSVRC" not in str(error.value)


def test_data_prepared_as_tfrecord_is_refused_with_the_command(tmp_path):
    jpeg_set.prepare(jpeg_set.ColouredTiles, tmp_path)
    info = next(tmp_path.rglob("dataset_info.json"))
    description = json.loads(info.read_text())
    for split in description["splits"]:
        split["filepathTemplate"] = split["filepathTemplate"].replace("array_record", "tfrecord")
    info.write_text(json.dumps({**description, "fileFormat": "tfrecord"}))
    with pytest.raises(MissingData, match=r"(?s)prepared as tfrecord.*launch/prepare_data.py"):
        open_for_colour(config_of(tmp_path))
