"""What happens to images that cannot be read, through the same road as all others."""

import dataclasses

import numpy as np
import pytest
from jpeg_set import jpeg, picture

from deepmad_jax.config import DataConfig
from deepmad_jax.data import eval_batches, open_dataset, train_batches
from deepmad_jax.data.corrupt import CorruptData

IMAGES, BROKEN = 20, (4, 5, 17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 20 images, the label 0 or 1 is that of the number; three are cut off."""
    root = tmp_path_factory.mktemp("folder")
    for split in ("train", "val"):
        for number in range(IMAGES):
            path = root / split / f"class_{number // 10}" / f"{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = jpeg(picture(3 * number))  # picture's red tells 3 * number % 3 = 0
            path.write_bytes(data[:400] if number in BROKEN else data)
    return root


def config_of(folder, **fields):
    return DataConfig(source="folder", data_dir=str(folder), **fields)


def opened(config):
    return open_dataset(config, resolution_px=16, channels=3, classes=2)


def epoch(config, **options):
    batches = train_batches(opened(config), config, batch_size=4, seed=0, **options)
    return batches, [next(batches) for _ in range(IMAGES // 4)]


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_training_images_are_named_and_replaced_by_the_next(folder, capfd, workers):
    config = config_of(folder, corrupt_share=0.15, train_augment="none", workers=workers)
    batches, epoch_of_batches = epoch(config)
    images = np.concatenate([b["image"] for b in epoch_of_batches])
    batches.close()
    assert images.any(axis=(1, 2, 3)).all()  # none is left black
    # 4 and 5 are replaced by 6, and 17 by 18.
    unique, counts = np.unique(images.reshape(IMAGES, -1), axis=0, return_counts=True)
    assert len(unique) == IMAGES - len(BROKEN)
    assert sorted(counts)[-2:] == [2, 3]
    assert "corrupt" not in epoch_of_batches[0]
    said = capfd.readouterr().err
    for number in BROKEN:
        assert said.count(f"{folder}/train/class_{number // 10}/{number:02}.jpg") == 1
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
    with pytest.raises(CorruptData, match="100 images in a row"):
        next(train_batches(dataset, config, batch_size=1, seed=0))
