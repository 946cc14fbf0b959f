"""The configs of segmenters load and hold the recipes that they name."""

import runpy
from pathlib import Path

import pytest

from deepmad_jax.arch.reference import resolve
from deepmad_jax.recipes import ADE20K_IMAGES
from deepmad_jax.train import Plan
from tests.config_files import config_of

FOLDER = Path(__file__).parent.parent / "configs" / "segment"
FILES = sorted(FOLDER.glob("*.py"))
ADE20K = [file for file in FILES if file.stem.startswith("upernet")]

# Optimiser, rate, last rate, power, warm-up, decay, what decays, drop path, stages, window.
SGD = ("sgd", 0.01, 1e-4, 0.9, 0, 5e-4, "all", 0.0, 1.0, 0)
RECIPES = {
    "upernet_resnet50": SGD,
    "upernet_resnet101": SGD,
    "upernet_deepmad_r50": SGD,
    "upernet_deepmad_29m": SGD,
    "upernet_swin_t": ("adamw", 6e-5, 0.0, 1.0, 1500, 0.01, "no_norms", 0.3, 1.0, 0),
    "upernet_convnext_t": ("adamw", 1e-4, 0.0, 1.0, 1500, 0.05, "matrices", 0.4, 0.9, 512),
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_variants_load_and_have_a_workdir_each(file):
    variants = ["", *runpy.run_path(str(file)).get("VARIANTS", {})]
    configs = [config_of(file, variant) for variant in variants]
    assert len({config.name for config in configs}) == len(configs)
    assert {config.task for config in configs} == {"segment"}


@pytest.mark.parametrize("file", ADE20K, ids=lambda file: file.stem)
def test_recipes_are_those_of_the_baselines(file):
    config = config_of(file)
    train, segment = config.train, config.segment
    found = (
        segment.optimizer, train.learning_rate, train.final_learning_rate, segment.power,
        segment.warmup_steps, train.weight_decay, segment.decayed, train.drop_path,
        segment.layer_decay, segment.window,
    )  # fmt: skip
    assert found == RECIPES[file.stem]
    assert (segment.width, segment.aux_width, segment.aux_weight) == (512, 256, 0.4)
    assert (segment.pools, segment.dropout, segment.classes) == ((1, 2, 3, 6), 0.1, 150)
    assert (segment.short_side, segment.long_side, segment.crop) == (512, 2048, 512)
    assert (segment.scale_range, segment.class_share, segment.distort) == ((0.5, 2.0), 0.75, True)
    assert Plan.of(train, ADE20K_IMAGES).total_steps == 160_000
    assert resolve(config.architecture).in_channels == 3


def test_table_5_is_tested_at_six_scales_and_mirrored():
    segment = config_of(ADE20K[0], "scales").segment
    assert segment.scales == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert segment.mirrored
