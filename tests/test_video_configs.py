"""The configs of action recognition load and hold the recipes that they name."""

from pathlib import Path

import pytest

from deepmad_jax.arch.backbone_cost import backbone_flops, backbone_params
from deepmad_jax.arch.reference import resolve
from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.prepared import prepare
from tests.config_files import config_of

FOLDER = Path(__file__).parent.parent / "configs" / "video"
FILES = sorted(FOLDER.glob("*.py"))

# DOWNSTREAM's table: rate, decay, epochs, drops, classifier's deviation, crops.
RECIPES = {
    "ucf101": (0.00128, 5e-4, 75, (), 0.001, "random", "three", 256, "trainlist01", "testlist01"),
    "kinetics400": (0.01, 1e-4, 100, (40, 80), 0.01, "multiscale", "ten", 224, "train", "val"),
}
# Table 6: millions of params and GFLOPs at 256x340, less the classifier.
# X3D's paper: frames, pixels a side, millions of params, GFLOPs of a clip.
X3D = {
    "s": (13, 160, 3.76, 1.96),
    "m": (16, 224, 3.76, 4.73),
    "l": (16, 312, 6.08, 18.37),
    "xl": (16, 312, 11.0, 35.84),
}
TABLE_6 = {"resnet50": (23.51, 7.3), "deepmad_r50": (24.21, 7.3)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_load_and_have_a_workdir_each(file):
    config = config_of(file)
    assert (config.name, config.task) == (file.stem, "video")


def test_every_row_of_table_6_has_a_config_of_each_data_set():
    wanted = {f"tsn_{net}_{data}" for net in TABLE_6 for data in RECIPES}
    others = {"motion", "motion_clips", *(f"e3d_{size}" for size in X3D)}
    assert {file.stem for file in FILES} == wanted | others


@pytest.mark.parametrize("data", RECIPES)
@pytest.mark.parametrize("net", TABLE_6)
def test_recipes_are_those_of_the_baselines(net, data):
    config = config_of(FOLDER / f"tsn_{net}_{data}.py")
    train, video = config.train, config.video
    found = (
        train.learning_rate, train.weight_decay, train.epochs, video.drop_epochs, video.head_std,
        video.train_crop, video.test_crops, video.test_crop, config.data.train_split,
        config.data.eval_split,
    )  # fmt: skip
    assert found == RECIPES[data]
    assert (train.optimizer, train.momentum, train.batch_size) == ("sgd", 0.9, 256)
    assert (train.clip_norm, train.dropout, train.label_smoothing) == (40.0, 0.4, 0.0)
    assert (train.warmup_epochs, train.cooldown_epochs, video.drop_factor) == (0, 0, 0.1)
    assert (video.segments, video.test_segments, config.data.flip) == (3, 25, 0.5)
    assert (video.short_side, video.crop, video.average) == (256, 224, "logits")
    assert video.crop_scales == (1.0, 0.875, 0.75, 0.66)
    assert config.data.crop_scale_min == 0.08
    assert resolve(config.architecture).name == resolve(net).name


@pytest.mark.parametrize("net", TABLE_6)
def test_backbones_of_table_6_cost_what_is_printed(net):
    params, flops = TABLE_6[net]
    assert round(backbone_params(resolve(net)) / 1e6, 2) == params
    assert backbone_flops(resolve(net), 256, 340) / 1e9 == pytest.approx(flops, rel=0.01)


@pytest.mark.parametrize("size", X3D)
def test_networks_of_clips_have_x3ds_budgets_and_are_judged_by_ten_clips_of_three_crops(size):
    config = config_of(FOLDER / f"e3d_{size}.py")
    frames, side, params, macs = X3D[size]
    problem, video = config.design, config.video
    assert (problem.frames, problem.resolution, problem.classes) == (frames, side, 400)
    assert (problem.params, problem.macs) == (params * 1e6, macs * 1e9)
    assert (problem.block, problem.kernels_t) == ("bottleneck", (1, 3))
    assert (video.segments, video.test_segments) == (frames, 10 * frames)
    assert (video.crop, video.test_crops) == (side, "three")
    feasible.check_floors(prepare(problem))


@pytest.mark.parametrize("name", ["motion", "motion_clips"])
def test_configs_of_drawn_videos_can_be_designed(name):
    feasible.check_floors(prepare(config_of(FOLDER / f"{name}.py").design))
