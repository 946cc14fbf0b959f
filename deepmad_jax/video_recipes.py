"""Recipes of action recognition: TSN's (Table 6), as mmaction2 has them, 3-D blocks', and ours."""

from collections.abc import Mapping

import ml_collections

from deepmad_jax.arch.x3d import X3D
from deepmad_jax.recipes import CLIPS_SPACE, Fields, set_fields

_TSN: Fields = {
    "task": "video",
    "jobs": ("train", "evaluate"),
    "data.flip": 0.5,
    "data.crop_scale_min": 0.08,
    "train.warmup_epochs": 0.0,
    "train.cooldown_epochs": 0.0,
    "train.batch_size": 256,
    "train.eval_batch_size": 8,
    "train.final_learning_rate": 0.0,
    "train.momentum": 0.9,
    "train.clip_norm": 40.0,
    "train.batch_norm_momentum": 0.1,
    "train.label_smoothing": 0.0,
    "train.dropout": 0.4,
    "train.dtype": "float32",
    "train.zero_init": False,
    "train.eval_every_epochs": 5.0,
    "video.segments": 3,
    "video.test_segments": 25,
    "video.short_side": 256,
    "video.crop": 224,
}

TSN_RECIPES: Mapping[str, Fields] = {
    "ucf101": {
        **_TSN,
        "data.train_split": "trainlist01",
        "data.eval_split": "testlist01",
        "train.epochs": 75.0,
        "train.learning_rate": 0.00128,
        "train.weight_decay": 5e-4,
        "video.layout": "ucf101",
        "video.list_file": "ucfTrainTestlist/{split}.txt",
        "video.video_folder": "UCF-101",
        "video.train_crop": "random",
        "video.head_std": 0.001,
        "video.test_crops": "three",
        "video.test_crop": 256,
    },
    "kinetics400": {
        **_TSN,
        "data.train_split": "train",
        "data.eval_split": "val",
        "train.epochs": 100.0,
        "train.learning_rate": 0.01,
        "train.weight_decay": 1e-4,
        "video.layout": "kinetics",
        "video.list_file": "annotations/{split}.csv",
        "video.video_folder": "{split}",
        "video.train_crop": "multiscale",
        "video.head_std": 0.01,
        "video.drop_epochs": (40.0, 80.0),
        "video.test_crops": "ten",
        "video.test_crop": 224,
    },
}
"""Data set -> mmaction2's tsn_r50_1x1x3_75e_ucf101_rgb and tsn_r50_1x1x3_100e_kinetics400_rgb."""

MOTION_RECIPE: Fields = {
    "task": "video",
    "design.strides": (2, 2, 2),
    "design.kernels": (3,),
    "design.inner_ratio": (0.25, 1.0),
    "design.stem_width": (16, 24),
    "design.classes": 6,
    "design.params": 0.2e6,
    "data.train_split": "train",
    "data.eval_split": "val",
    "data.flip": 0.0,  # mirrored, left is right
    "data.crop_scale_min": 0.7,
    "train.warmup_epochs": 0.0,
    "train.cooldown_epochs": 0.0,
    "train.optimizer": "adamw",
    "train.batch_size": 16,
    "train.eval_batch_size": 10,
    "train.learning_rate": 4e-3,
    "train.final_learning_rate": 0.0,
    "train.weight_decay": 1e-2,
    "train.batch_norm_momentum": 0.1,
    "train.label_smoothing": 0.0,
    "train.zero_init": False,
    "train.dtype": "float32",
    "train.log_every_steps": 40,
    "video.layout": "folder",
    "video.video_folder": "{split}",
    "video.test_crops": "three",
}
"""Ours, for the drawn videos of `data.motion`."""


def set_recogniser(config: ml_collections.ConfigDict, recipe: str, backbone: str) -> None:
    """Sets TSN's recipe for a data set and its backbone; the run is TSN_BACKBONE_DATASET.

    Args:
        config: to be set.
        recipe: one of `TSN_RECIPES`.
        backbone: a published network of the zoo.
    """
    config.name = f"tsn_{backbone}_{recipe}"
    set_fields(config, TSN_RECIPES[recipe], {"architecture": backbone})


def set_clips(config: ml_collections.ConfigDict, size: str) -> None:
    """Sets a network of clips to be designed in X3D's budget and trained on Kinetics-400: E3D_SIZE.

    The recipe is TSN's (`TSN_RECIPES`), with clips of as many frames, one of each equal part of a
    video, and ten clips and three crops at the end, as X3D is judged. E3D and X3D themselves train
    two to three times as long.

    Args:
        config: to be set.
        size: one of `arch.x3d.X3D`.
    """
    budget = X3D[size]
    config.name = f"e3d_{size}"
    set_fields(
        config,
        TSN_RECIPES["kinetics400"],
        CLIPS_SPACE,
        {
            "jobs": ("design", "train", "evaluate"),
            "design.frames": budget.frames,
            "design.resolution": budget.resolution,
            "design.classes": 400,
            "design.params": budget.params,
            "design.macs": budget.macs,
            "video.segments": budget.frames,
            "video.test_segments": 10 * budget.frames,
            "video.crop": budget.resolution,
            "video.short_side": budget.resolution * 8 // 7,
            "video.test_crops": "three",
            "video.test_crop": budget.resolution * 8 // 7,
        },
    )
