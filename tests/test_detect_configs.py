"""The configs of detectors load and hold the recipes that they name."""

import math
import runpy
from pathlib import Path

import pytest
from flax import nnx

from deepmad_jax.arch.reference import resolve
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.recipes import BACKBONES, DETECTION_RECIPES
from deepmad_jax.tasks.detect.detectors import make_detector
from tests.config_files import config_of

FOLDER = Path(__file__).parent.parent / "configs" / "detect"
FILES = sorted(FOLDER.glob("*.py"))

# Rate, warm-up, its factor and steps, clip, factor of biases, their decay, epochs, drops, sides.
RECIPES = {
    "fcos": (0.01, "constant", 1 / 3, 500, 35.0, 2.0, False, 24, (16, 22), (640, 800)),
    "gflv2": (0.01, "linear", 0.001, 500, None, 1.0, True, 24, (16, 22), (480, 960)),
    "mask_rcnn": (0.02, "linear", 0.001, 500, None, 1.0, True, 24, (16, 22), (800, 800)),
    "cascade_mask_rcnn": (0.02, "linear", 0.001, 500, None, 1.0, True, 20, (16, 19), (800, 800)),
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_variants_load_and_have_a_workdir_each(file):
    variants = ["", *runpy.run_path(str(file))["VARIANTS"]]
    configs = [config_of(file, variant) for variant in variants]
    assert len({config.name for config in configs}) == len(configs)
    assert {config.task for config in configs} == {"detect"}


@pytest.mark.parametrize("detector", DETECTION_RECIPES)
def test_recipes_are_those_of_the_baselines(detector):
    config = config_of(FOLDER / f"{detector}_deepmad_r50.py")
    train, detect = config.train, config.detect
    found = (
        train.learning_rate, detect.warmup, detect.warmup_factor, detect.warmup_steps,
        train.clip_norm, detect.bias_rate, detect.bias_decays, train.epochs, detect.drop_epochs,
        (min(detect.short_sides), max(detect.short_sides)),
    )  # fmt: skip
    assert found == RECIPES[detector]
    assert (train.batch_size, train.momentum, train.weight_decay) == (16, 0.9, 1e-4)
    assert (detect.frozen_stages, detect.eval_short_side, detect.long_side) == (1, 800, 1333)
    assert detect.batch_norm == ("fixed" if detector == "fcos" else "affine")
    assert detect.proposals == (2000 if detector == "cascade_mask_rcnn" else 1000)


# With 91 classes and BatchNorm's 53,120 numbers not counted: torchvision's pages of
# fcos_resnet50_fpn and maskrcnn_resnet50_fpn.
TORCHVISION = {"fcos": 32_269_600, "mask_rcnn": 44_401_393}


def test_detectors_on_resnet50_have_as_many_numbers_as_torchvisions():
    found = {name: num_params(name) for name in ("fcos", "mask_rcnn", "cascade_mask_rcnn")}
    plain = {name: count + 53_120 for name, count in TORCHVISION.items()}
    # 11 classes fewer; convs before GroupNorm without bias; a factor for each map.
    assert found["fcos"] == plain["fcos"] - 11 * (9 * 256 + 1) - 8 * 256 + 5
    # Background is a class for the box head alone, whose deltas theirs gives it too.
    fewer = 10 * 1025 + 4 * 11 * 1025 + 11 * 257
    assert found["mask_rcnn"] == plain["mask_rcnn"] - fewer
    # Two more stages, and deltas of 4 numbers instead of 4 for each of 80 classes.
    box = 49 * 256 * 1024 + 1024 + 1024 * 1025 + 81 * 1025 + 4 * 1025
    mask = 4 * (9 * 256 * 256 + 256) + 4 * 256 * 256 + 256 + 80 * 257
    wanted = found["mask_rcnn"] - 4 * 79 * 1025 + 2 * (box + mask)
    assert found["cascade_mask_rcnn"] == wanted


def num_params(detector):
    """Of the detector that a config file builds, frozen ones too; nothing is computed."""
    config = config_of(FOLDER / f"{detector}_deepmad_r50.py", "resnet50")
    arch = resolve(config.architecture)
    net = nnx.eval_shape(lambda: make_detector(arch, config, 80, True))
    statistics = ("mean", "var")
    flat = nnx.to_flat_state(nnx.state(net))
    return sum(math.prod(leaf.shape) for path, leaf in flat if path[-1] not in statistics)


def test_gflv2_builds_on_deepmad_r50():
    config = config_of(FOLDER / "gflv2_deepmad_r50.py")
    net = nnx.eval_shape(lambda: make_detector(resolve(config.architecture), config, 80, True))
    assert net.head.class_conv.kernel.shape == (3, 3, 256, 80)
    assert net.head.quality_in.kernel.shape == (1, 1, 20, 64)


def test_backbones_of_the_zoo_are_there():
    for fields in BACKBONES.values():
        if not fields["architecture"].startswith("runs/"):
            resolve(fields["architecture"])


def test_an_unknown_backbone_is_refused_with_the_nearest():
    with pytest.raises(InvalidConfig, match="did you mean 'resnet50'"):
        config_of(FOLDER / "fcos_deepmad_r50.py", "resnet5")
