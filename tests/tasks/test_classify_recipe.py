"""The whole recipe at once: it trains, goes on to the same bits, on any number of devices."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, TrainConfig
from deepmad_jax.tasks import run
from deepmad_jax.tasks.classify import task
from deepmad_jax.tasks.classify.task import CLASSIFY

ARCH = Architecture("tiny", 8, 3, 6, Stem(8, 3, 1), (Stage("basic", 8, 8, 3, 1, 2),))
CONFIG = Config(
    name="recipe",
    data=DataConfig(
        source="fake",
        fake_images=96,
        train_augment="crop",
        color_jitter=0.4,
        auto_augment="rand-m9-mstd0.5-inc1",
        random_erasing=0.5,
        mixup=0.8,
        cutmix=1.0,
    ),
    train=TrainConfig(
        epochs=2,
        batch_size=32,
        eval_batch_size=12,
        learning_rate=0.1,
        warmup_epochs=0,
        cooldown_epochs=0,
        dtype="float32",
        log_every_steps=1,
        eval_every_epochs=2,
    ),
)

MIX_ON_EIGHT_DEVICES = """
import jax, numpy as np
from jax.sharding import PartitionSpec
from deepmad_jax.config import DataConfig
from deepmad_jax.tasks.classify.mixing import erase, mix
from deepmad_jax.train import make_mesh, to_device

assert jax.device_count() == 8
config = DataConfig(mixup=0.8, cutmix=1.0, switch_probability=0.0, random_erasing=0.5)
rng = np.random.default_rng(0)
batch = {
    "key": rng.integers(2**32, size=(16, 2), dtype=np.uint32),
    "image": rng.normal(size=(16, 8, 8, 3)).astype(np.float32),
    "target": np.eye(16, dtype=np.float32),
}

@jax.jit
def run(batch):
    images, targets = mix(batch["key"], batch["image"], batch["target"], config)
    return erase(batch["key"], images, config), targets

whole = [run(to_device(make_mesh(jax.devices()[:n]), batch)) for n in (1, 8)]
for one, eight in zip(*whole):
    np.testing.assert_allclose(one, eight, rtol=1e-6, atol=1e-6)
assert abs(np.asarray(whole[0][1]).max() - 1) > 0.01  # it did mix
"""


def train(config, arch, workdir):
    return run.train(CLASSIFY, config, arch, workdir)


@pytest.mark.slow
def test_training_with_the_whole_recipe_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole = train(CONFIG, ARCH, tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(task, "sum_over_batches", stop)
        with pytest.raises(Stopped):  # at the end; the checkpoint is of the first epoch
            train(CONFIG, ARCH, tmp_path / "resumed")
    resumed = train(CONFIG, ARCH, tmp_path / "resumed")
    leaves = zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True)
    for ours, other in leaves:
        assert np.isfinite(ours).all()
        np.testing.assert_array_equal(ours, other)


@pytest.mark.slow
def test_mixing_and_erasing_are_the_same_on_eight_devices_as_on_one():
    environment = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": ":".join(sys.path),
    }
    command = [sys.executable, "-c", MIX_ON_EIGHT_DEVICES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
