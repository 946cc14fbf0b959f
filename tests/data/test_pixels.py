"""Training images decoded beforehand: their pixels, their numbers, and what does not fit."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from deepmad_jax.config import DataConfig
from deepmad_jax.data import open_dataset, train_batches
from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.data.pixels import write_pixels
from deepmad_jax.errors import InvalidConfig, MissingData
from launch import cache_pixels

SIZES = [(40, 60), (60, 40), (30, 30), (16, 50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four images of two classes, one smaller than what is kept, and a broken one."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number, (height, width) in enumerate(SIZES):
            where = root / split / "ab"[number % 2]
            where.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(where / f"{number}.png")
    (root / "train" / "b" / "broken.png").write_bytes(b"no image")
    return root


def opened(folder, pixels=None, resolution_px=16, **fields):
    config = DataConfig(
        source="folder", data_dir=str(folder), eval_split="val", pixels_dir=pixels, **fields
    )
    return config, open_dataset(config, resolution_px=resolution_px, channels=3, classes=2)


@pytest.fixture(scope="module")
def cached(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("cache") / "pixels"
    _, dataset = opened(folder)
    assert write_pixels(dataset, out, 20) == 1
    return str(out)


def test_pixels_are_those_of_the_files_made_small(folder, cached):
    _, plain = opened(folder)
    _, dataset = opened(folder, cached)
    assert len(dataset.train) == len(plain.train) == 5
    for number in range(5):
        name = plain.train.name_of(number)
        assert dataset.train.name_of(number) == name
        if "broken" in name:
            with pytest.raises(CorruptImage, match="when it was to be decoded"):
                dataset.train[number]
            continue
        ours, theirs = dataset.train[number], plain.train[number]
        assert ours["label"] == theirs["label"]
        whole = decode(theirs["image"], 3)
        height, width = whole.shape[:2]
        if min(height, width) <= 20:
            np.testing.assert_array_equal(ours["image"], whole)
            continue
        assert ours["image"].shape == (
            (20, width * 20 // height, 3) if height < width else (height * 20 // width, 20, 3)
        )
        # The same picture: its mean is kept but for what a resize weighs less at the edges.
        means = ours["image"].mean((0, 1)), whole.mean((0, 1))
        np.testing.assert_allclose(*means, atol=4.0)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_batches_are_made_of_them_and_evaluation_of_the_files(folder, cached, workers):
    config, dataset = opened(folder, cached, corrupt_share=0.5, workers=workers)
    batches = train_batches(dataset, config, batch_size=4, seed=0)
    batch = next(batches)
    batches.close()
    assert batch["image"].shape == (4, 16, 16, 3)
    assert batch["image"].any(axis=(1, 2, 3)).all()
    assert dataset.evaluation == opened(folder)[1].evaluation


def test_pixels_of_other_data_or_too_few_are_refused(folder, cached):
    with pytest.raises(MissingData, match=r"cache_pixels\.py"):
        opened(folder, "nowhere")
    _, dataset = opened(folder)
    write_pixels(dataclasses.replace(dataset, name="else"), folder / "else", 20)
    with pytest.raises(InvalidConfig, match=r"of other data \(name 'else'"):
        opened(folder, str(folder / "else"))
    with pytest.raises(InvalidConfig, match="short side of 20 pixels, less than the 32"):
        opened(folder, cached, resolution_px=32)


def test_the_script_writes_what_a_config_reads(folder, tmp_path, capsys):
    flags = ["--config.data.source=folder", f"--config.data.data_dir={folder}"]
    flags += ["--config.data.eval_split=val", "--config=configs/r20_cifar.py", "--short_px=20"]
    flags += ["--config.data.name=imagenet2012"]  # no name of its own: the folder's
    assert cache_pixels.main(["cache_pixels", *flags, f"--out={tmp_path / 'out'}"]) == 0
    assert "1 image(s) could not be read" in capsys.readouterr().out
    assert len(opened(folder, str(tmp_path / "out"))[1].train) == 5
    assert cache_pixels.main(["cache_pixels", *flags]) == 2
    assert "Give --out=DIR" in capsys.readouterr().err
    digits = ["--config=configs/digits.py", f"--out={tmp_path / 'no'}"]
    assert cache_pixels.main(["cache_pixels", *digits]) == 2
    assert "not encoded" in capsys.readouterr().err
