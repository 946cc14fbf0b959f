"""What happens to images that cannot be read, through the same road as all others."""

import dataclasses

import numpy as np
import pytest
from jpeg_set import jpeg, picture

from deepmad_jax.config import DataConfig
from deepmad_jax.data import Dataset, eval_batches, open_dataset, train_batches
from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.data.digits import ArraySource
from deepmad_jax.data.folder import FileSource
from deepmad_jax.errors import UserError

IMAGES, BROKEN = 20, (4, 5, 17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 20 images, the label 0 or 1 is that of the number; three are cut off."""
    return write(tmp_path_factory.mktemp("folder"), BROKEN)


def write(root, broken):
    for split in ("train", "val"):
        for number in range(IMAGES):
            path = root / split / f"class_{number // 10}" / f"{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = jpeg(picture(3 * number))  # picture's red tells 3 * number % 3 = 0
            path.write_bytes(data[:400] if number in broken else data)
    return root


def config_of(folder, **fields):
    return DataConfig(source="folder", data_dir=str(folder), **fields)


def opened(config):
    return open_dataset(config, resolution_px=16, channels=3, classes=2)


def opened_with(config):
    return opened(config), config


def epoch(config, **options):
    batches = train_batches(opened(config), config, batch_size=4, seed=0, **options)
    return batches, [next(batches) for _ in range(IMAGES // 4)]


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_training_images_are_named_and_replaced_by_the_next_of_the_epoch(
    folder, tmp_path, capfd, workers
):
    _, whole = epoch(config_of(write(tmp_path, ()), train_augment="none"))
    order = np.concatenate([b["image"] for b in whole])
    (readable,) = eval_batches(*opened_with(config_of(folder, corrupt_share=0.15)), batch_size=20)
    whole_ones = {image.tobytes() for image in readable["image"][readable["mask"] == 1]}
    good = [image.tobytes() in whole_ones for image in order]
    assert good.count(False) == len(BROKEN)
    config = config_of(folder, corrupt_share=0.15, train_augment="none", workers=workers)
    batches, epoch_of_batches = epoch(config)
    images = np.concatenate([b["image"] for b in epoch_of_batches])
    batches.close()
    for i, image in enumerate(images):
        next_good = next(j % IMAGES for j in range(i, i + IMAGES) if good[j % IMAGES])
        np.testing.assert_array_equal(image, order[next_good])
    assert epoch_of_batches[0].keys() == whole[0].keys() == {"image", "label", "key"}
    said = capfd.readouterr().err
    for number in BROKEN:
        name = f"{folder}/train/class_{number // 10}/{number:02}.jpg"
        assert said.count(f"{name}: OSError: Truncated File Read") == 1  # Pillow's reason
    assert "(3 so far)" in said


def test_corrupt_images_are_named_once_however_often_they_come(folder, capfd):
    config = config_of(folder, corrupt_share=0.15)
    batches, _ = epoch(config)
    [next(batches) for _ in range(20)]
    assert capfd.readouterr().err.count("skipped a corrupt image") == 3


def test_corrupt_evaluation_images_are_not_counted(folder):
    config = config_of(folder, corrupt_share=0.15)
    seen = list(eval_batches(opened(config), config, batch_size=8))
    assert sum(b["mask"].sum() for b in seen) == IMAGES - len(BROKEN)


def test_more_corrupt_images_than_the_share_end_the_run(folder):
    config = config_of(folder, corrupt_share=0.1)
    with pytest.raises(CorruptData, match=r"(?s)3 of the 20 images.*\.jpg.*corrupt_share"):
        epoch(config)


def test_corrupt_count_survives_a_restart(folder, capfd):
    config = config_of(folder, corrupt_share=0.15)
    batches, _ = epoch(config)
    again = train_batches(opened(config), config, batch_size=4, seed=0)
    capfd.readouterr()
    again.set_state(batches.get_state())
    [next(again) for _ in range(10)]
    assert "skipped" not in capfd.readouterr().err
    assert again.get_state() == {"next_batch": 15, "corrupt": list(BROKEN)}


def test_data_set_without_a_readable_image_ends_the_run(folder, tmp_path):
    for name in ("train", "val"):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "1.jpg").write_bytes(b"no image")
    config = dataclasses.replace(config_of(tmp_path), corrupt_share=1.0)
    dataset = open_dataset(config, resolution_px=16, channels=3, classes=1)
    with pytest.raises(
        CorruptData, match=r"(?s)1 images in a row.*train/a/1\.jpg: no image of a known kind"
    ):
        next(train_batches(dataset, config, batch_size=1, seed=0))


def test_file_that_can_be_read_at_the_second_try_is_told_so(folder, monkeypatch, capfd):
    config = config_of(folder, corrupt_share=1.0)
    dataset = opened(config)
    read, tries = FileSource.__getitem__, []

    def fails_once(source, index):
        # A loader that an earlier test left may still read ahead from its own source.
        if source is dataset.evaluation and index == 0:
            tries.append(index)
            if len(tries) == 1:
                raise CorruptImage("the network is down")
        return read(source, index)

    monkeypatch.setattr(FileSource, "__getitem__", fails_once)
    (batch,) = eval_batches(dataset, config, batch_size=IMAGES)
    assert batch["mask"][0] == 0
    assert "00.jpg: the next try could read it" in capfd.readouterr().err


def test_damaged_stretch_of_the_data_ends_no_run_that_allows_it(tmp_path):
    # 300 images in a row, as in one damaged shard: more than may fail one after another.
    class Half:
        def __len__(self):
            return 600

        def __getitem__(self, index):
            if index < 300:
                raise CorruptImage("the shard is cut off")
            return {"image": np.full((16, 16, 1), index % 256, np.uint8), "label": 0}

        def name_of(self, index):
            return f"image {index}"

    config = DataConfig(source="fake", corrupt_share=0.5, train_augment="none")
    dataset = Dataset("half", Half(), Half(), 1, 1, (0.5,), (0.25,), 16, framed=True)
    batch = next(train_batches(dataset, config, batch_size=600, seed=0))
    assert set(np.unique(batch["image"])) == {i % 256 for i in range(300, 600)}


def test_images_of_another_type_than_uint8_are_refused():
    source = ArraySource(np.zeros((4, 16, 16, 1), np.uint16), np.zeros(4, np.int32))
    dataset = Dataset("deep", source, source, 1, 1, (0.5,), (0.25,), 16, framed=True)
    for augment in ("none", "crop"):
        config = DataConfig(source="fake", train_augment=augment)
        with pytest.raises(UserError, match=r"images of deep are arrays of uint16.*uint8"):
            next(train_batches(dataset, config, batch_size=4, seed=0))
