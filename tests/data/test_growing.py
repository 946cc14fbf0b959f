"""Images that grow over a training: their sizes by place, their pixels, and a run over them all."""

import json

import numpy as np
import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.arch.zoo import zoo
from deepmad_jax.config import Config, DataConfig, TrainConfig
from deepmad_jax.data.growing import shrunk
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.tasks import run
from deepmad_jax.tasks.classify.task import CLASSIFY

ARCH = Architecture("tiny", 16, 1, 6, Stem(4, 3, 2), (Stage("basic", 4, 4, 3, 1, 1),))
CONFIG = Config(
    data=DataConfig(source="fake", train_augment="shift", fake_images=64, grow_px=(8, 12)),
    train=TrainConfig(
        epochs=3, batch_size=32, warmup_epochs=0, cooldown_epochs=0, dtype="float32",
        log_every_steps=1,
    ),
)  # fmt: skip


def test_pixels_are_means_of_the_large_images():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    expected = images.reshape(3, 4, 2, 4, 2, 3).astype(float).mean((2, 4))
    np.testing.assert_allclose(shrunk(images, 4), expected, atol=0.51)  # rounded


def test_sizes_are_by_the_number_of_the_batch_after_a_restart_too():
    data = CLASSIFY.open(CONFIG, ARCH)
    assert data.forms == 3
    batches = data.train_batches(CONFIG)
    every = [next(batches)["image"] for _ in range(6)]
    assert [images.shape[1] for images in every] == [8, 8, 12, 12, 16, 16]
    again = data.train_batches(CONFIG)
    again.set_state({"next_batch": 3, "corrupt": []})
    for images in every[3:]:
        np.testing.assert_array_equal(next(again)["image"], images)


def test_a_training_compiles_its_step_for_each_size_and_ends_at_the_networks_own(tmp_path):
    run.train(CLASSIFY, CONFIG, ARCH, tmp_path)
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["split"] == "eval"
    assert np.isfinite(lines[-1]["loss"])


@pytest.mark.parametrize(
    ("arch", "words"),
    [(zoo("deit_s"), "takes images of 224 pixels only"), (ARCH, "name smaller sides")],
)
def test_what_the_network_cannot_take_is_refused(arch, words):
    config = Config(data=DataConfig(source="fake", grow_px=(8, 16)))
    with pytest.raises(InvalidConfig, match=words):
        CLASSIFY.open(config, arch)
