"""The configs of the compared networks load and hold the recipes that they are named for."""

import runpy
from pathlib import Path

import pytest

from deepmad_jax.arch.reference import resolve
from deepmad_jax.compared_recipes import NETWORK_RECIPES
from deepmad_jax.config.load import parse
from tests.facts import COMPARED

FILE = Path(__file__).parent.parent / "configs" / "compared" / "networks.py"

# As read from the authors' scripts: rate, batch, warm-up, clip, repeats, average, decay, crop.
RECIPES = {
    "swin": (1e-3, 1024, 20, 5.0, 1, None, 0.05, 0.875),
    "deit": (1e-3, 1024, 5, None, 3, 0.99996, 0.05, 0.875),
    "pvt": (5e-4, 512, 5, None, 1, None, 0.05, 0.875),
    "tnt": (1e-3, 1024, 5, None, 3, 0.99996, 0.05, 0.9),
    "t2t": (5e-4, 512, 10, None, 1, 0.99996, 0.05, 0.9),
    "slak": (4e-3, 4096, 20, None, 1, 0.9999, 0.05, 0.875),
    "replknet": (4e-3, 2048, 10, None, 1, 0.9999, 0.05, 0.875),
}
DROP_PATH = {
    "swin_t": 0.2, "swin_s": 0.3, "swin_b": 0.5, "pvt_large": 0.3, "slak_s": 0.4, "slak_b": 0.5,
    "replknet_31b": 0.5,
}  # fmt: skip
NAMES = [fact["name"] for fact in COMPARED["networks"]]


def config_of(variant):
    config, _ = parse(["main", "--config", f"{FILE}:{variant}"])
    assert config.name == variant
    return config


def test_every_network_has_a_config_of_its_own_and_one_of_the_paper():
    variants = runpy.run_path(str(FILE))["VARIANTS"]
    assert set(variants) == {*NAMES, *(f"{name}_paper" for name in NAMES)}
    config, workdir = parse(["main", "--config", str(FILE)])
    assert (config.architecture, workdir.name) == ("swin_t", "compared")


@pytest.mark.parametrize("name", NAMES)
def test_a_networks_own_recipe_is_its_authors(name):
    config = config_of(name)
    train, data = config.train, config.data
    expected = list(RECIPES[NETWORK_RECIPES[name][0]])
    if name == "pvt_large":
        expected[3] = 1.0
    if name in ("t2t_vit_t_19", "t2t_vit_t_24"):
        expected[6] = 0.065
    found = [
        train.learning_rate, train.batch_size, train.warmup_epochs, train.clip_norm, data.repeats,
        train.ema_decay, train.weight_decay, data.eval_crop,
    ]  # fmt: skip
    assert found == expected
    assert (train.optimizer, train.epochs, train.label_smoothing) == ("adamw", 300, 0.1)
    assert (data.mixup, data.cutmix, data.switch_probability) == (0.8, 1.0, 0.5)
    assert (data.auto_augment, data.random_erasing) == ("rand-m9-mstd0.5-inc1", 0.25)
    assert train.drop_path == DROP_PATH.get(name, 0.1)
    assert train.decay_positions == name.startswith("pvt")
    assert train.sparsity == (0.4 if name.startswith("slak") else 0)
    assert data.normalise == ("half" if name.startswith("tnt") else "own")
    assert resolve(config.architecture).name == name


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_recipe_is_that_of_its_own_networks(name):
    config = config_of(f"{name}_paper")
    designed, _ = parse(["main", "--config", str(FILE.parent.parent / "deepmad_29m.py")])
    assert (config.train, config.data) == (designed.train, designed.data)
    assert config.architecture == name
