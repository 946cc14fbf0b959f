"""Prepared data sets of which a file is damaged or missing."""

import json
import shutil

import jpeg_set
import pytest

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset, train_batches
from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.errors import MissingData

SHARD = "coloured_tiles-{}.array_record-00000-of-00001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    jpeg_set.prepare(jpeg_set.ColouredTiles, directory)
    return directory


@pytest.fixture
def data_dir(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "tfds")


def opened(data_dir, **fields):
    config = DataConfig(name="coloured_tiles", data_dir=str(data_dir), **fields)
    return open_dataset(config, resolution_px=16, channels=3, classes=jpeg_set.CLASSES), config


def version(data_dir):
    return data_dir / "coloured_tiles" / "1.0.0"


def damage(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def place_of_record(path, number):
    """Where the JPEG of a record lies in the shard: they lie there in order, as they are."""
    content, place = path.read_bytes(), -1
    for _ in range(number + 1):
        place = content.index(b"\xff\xd8\xff", place + 1)
    return place


def test_damaged_chunk_is_skipped_and_named_with_its_file(data_dir, capfd):
    shard = version(data_dir) / SHARD.format("validation")
    damage(shard, place_of_record(shard, 3) + 100)
    dataset, config = opened(data_dir, corrupt_share=0.2)
    (batch,) = eval_batches(dataset, config, batch_size=7)
    assert batch["mask"].tolist() == [1, 1, 1, 0, 1, 1, 1]
    assert (
        f"skipped a corrupt image of coloured_tiles: record 3 of validation, which is record 3 in "
        f"{shard}: Corrupted Riegeli/records file: chunk data hash mismatch"
    ) in capfd.readouterr().err


def test_record_of_a_slice_is_named_by_its_place_in_the_file(data_dir, capfd):
    shard = version(data_dir) / SHARD.format("validation")
    damage(shard, place_of_record(shard, 5) + 100)
    dataset, config = opened(data_dir, corrupt_share=0.5, eval_split="validation[4:]")
    list(eval_batches(dataset, config, batch_size=3))
    name = f"record 1 of validation[4:], which is record 5 in {shard}"
    assert name in capfd.readouterr().err


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("harm", [cut, lambda path: path.write_bytes(b"")], ids=["cut", "empty"])
def test_shard_cut_off_ends_the_run_with_its_name_and_what_to_do(data_dir, harm):
    shard = version(data_dir) / SHARD.format("validation")
    harm(shard)
    dataset, config = opened(data_dir)
    with pytest.raises(CorruptData) as error:
        list(eval_batches(dataset, config, batch_size=7))
    message = str(error.value)
    assert f"in {shard}: " in message
    assert "7 of the 7 images of coloured_tiles cannot be read" in message
    assert "Prepare the data again" in message


def test_evaluation_goes_past_a_shard_cut_off_where_it_is_allowed(data_dir, capfd):
    cut(version(data_dir) / SHARD.format("validation"))
    dataset, config = opened(data_dir, corrupt_share=1.0, eval_split="train+validation")
    seen = list(eval_batches(dataset, config, batch_size=37))
    assert sum(b["mask"].sum() for b in seen) == jpeg_set.TRAIN_IMAGES
    assert "(7 so far)" in capfd.readouterr().err


def test_training_goes_past_a_shard_cut_off_where_it_is_allowed(data_dir, capfd):
    cut(version(data_dir) / SHARD.format("validation"))
    dataset, config = opened(data_dir, corrupt_share=0.2, train_split="train+validation")
    batches = train_batches(dataset, config, batch_size=37, seed=0)
    assert next(batches)["image"].any(axis=(1, 2, 3)).all()
    assert len(batches.get_state()["corrupt"]) == jpeg_set.EVAL_IMAGES
    assert "(7 so far)" in capfd.readouterr().err


def test_shard_with_fewer_records_than_described_is_named(data_dir, capfd):
    info = version(data_dir) / "dataset_info.json"
    description = json.loads(info.read_text())
    for split in description["splits"]:
        split["shardLengths"] = [str(int(split["shardLengths"][0]) + 3)]
    info.write_text(json.dumps(description))
    dataset, config = opened(data_dir, corrupt_share=0.5)
    (batch,) = eval_batches(dataset, config, batch_size=10)
    assert batch["mask"].sum() == 7
    assert "record 9 of validation, which is record 9 in " in capfd.readouterr().err


def test_shard_that_is_missing_is_named(data_dir):
    shard = version(data_dir) / SHARD.format("validation")
    shard.unlink()
    with pytest.raises(MissingData, match=f"{shard} is not there.*copy the whole folder again"):
        opened(data_dir)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b"\xff\xfe"], ids=str)
def test_damaged_description_is_named(data_dir, file, content):
    path = version(data_dir) / file
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(CorruptData) as error:
        opened(data_dir)
    message = str(error.value)
    assert f"{path} is damaged (" in message
    assert "Copy that folder again from where it is whole, or remove it and prepare it" in message
    assert f"python launch/prepare_data.py coloured_tiles --data_dir {data_dir}" in message


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_description_that_says_nothing_is_called_damaged(data_dir, file):
    (version(data_dir) / file).write_text("{}")
    with pytest.raises(CorruptData, match=r"description of the data set coloured_tiles .* damaged"):
        opened(data_dir)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_missing_file_of_the_description_is_named(data_dir, file):
    (version(data_dir) / file).unlink()
    with pytest.raises(MissingData) as error:
        opened(data_dir)
    message = str(error.value)
    assert f"in {version(data_dir)} is not whole: {file} is missing" in message
    assert "not prepared" not in message


def test_preparation_that_was_cut_off_is_told(data_dir):
    left = version(data_dir).with_name("incomplete.ABCDEF_1.0.0")
    version(data_dir).rename(left)
    with pytest.raises(MissingData, match=f"not prepared: .* cut off, which left {left}"):
        opened(data_dir)
