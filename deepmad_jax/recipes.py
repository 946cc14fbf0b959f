"""The paper's training recipes, its design spaces, and how config files take them.

Detection (Table 4) is mmdetection's, segmentation (Table 5) mmsegmentation's; the rest is of Table
12. Videos have a module of their own, `video_recipes`.

Table 12 wins where the paper's section 5.1 differs. The paper also names random crop, resize, flip
and "lighting"; lighting is colour jitter of timm's default strength here, beside RandAugment, where
timm itself would drop it (``configs/r18.py:no_jitter``, or ``--config.data.color_jitter=0``).
RandAugment is as printed, ``rand-m9-mstd0.5``, which timm reads without its "increasing" arguments
(``configs/r18.py:inc1``, or ``--config.data.auto_augment=rand-m9-mstd0.5-inc1``). What neither says
is timm's default: crops of 8 to 100 % of the area, resized with Pillow's bilinear or bicubic filter
at random, noise in erased rectangles, epochs without the cool-down (490 in all), a warm-up from a
rate of 1e-5 (docs/training.md has the whole comparison).
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from deepmad_jax.design.program import spaces
from deepmad_jax.design.program.spaces import Space
from deepmad_jax.errors import InvalidConfig, did_you_mean

Fields = Mapping[str, Any]
"""Values by dotted name, such as ``{"design.rho": 0.5}``."""

IMAGENET_RECIPE: Fields = {
    "data.source": "tfds",
    "data.name": "imagenet2012",
    "train.epochs": 480.0,
    "train.warmup_epochs": 20.0,
    "train.cooldown_epochs": 10.0,
    "train.batch_size": 2048,
    "train.learning_rate": 0.8,
    "train.momentum": 0.9,
    "train.weight_decay": 5e-5,
    "train.batch_norm_momentum": 0.01,
    "train.label_smoothing": 0.1,
    "train.dtype": "bfloat16",
    "data.train_augment": "crop",
    "data.crop_interpolation": "random",
    "data.flip": 0.5,
    "data.color_jitter": 0.4,
    "data.auto_augment": "rand-m9-mstd0.5",
    "data.random_erasing": 0.2,
    "data.erasing_fill": "noise",
    "data.mixup": 0.8,
    "data.cutmix": 1.0,
    "data.switch_probability": 0.5,
    "data.eval_crop": 0.95,
}

CIFAR_RECIPE: Fields = {
    "data.source": "tfds",
    "data.name": "cifar100",
    "data.eval_split": "test",
    "train.epochs": 1440.0,
    "train.warmup_epochs": 5.0,
    "train.cooldown_epochs": 0.0,
    "train.batch_size": 512,
    "train.eval_batch_size": 512,
    "train.learning_rate": 0.2,
    "train.momentum": 0.9,
    "train.weight_decay": 5e-4,
    "train.batch_norm_momentum": 0.01,
    "train.label_smoothing": 0.1,
    "train.dtype": "float32",
    "data.train_augment": "crop",
    "data.flip": 0.5,
    "data.color_jitter": 0.4,
    "data.auto_augment": "cifar",
    "data.random_erasing": 0.5,
    "data.erasing_fill": "noise",
    "data.mixup": 0.2,
    "data.cutmix": 0.0,
    "data.switch_probability": 0.5,
    "data.eval_crop": 0.875,
}

DIGITS_RECIPE: Fields = {
    "data.source": "digits",
    "data.train_augment": "shift",
    "data.flip": 0.0,
    "design.stem_width": (4, 32),
    "design.resolution": 16,
    "design.in_channels": 1,
    "design.classes": 10,
    "train.epochs": 20.0,
    "train.warmup_epochs": 2.0,
    "train.cooldown_epochs": 0.0,
    "train.batch_size": 64,
    "train.eval_batch_size": 360,
    "train.learning_rate": 0.1,
    "train.weight_decay": 5e-4,
    "train.batch_norm_momentum": 0.1,
    "train.dtype": "float32",
    "train.eval_every_epochs": 5.0,
    "train.checkpoint_every_epochs": 5.0,
}
"""Ours, for scikit-learn's digits at 16 pixels, on `CIFAR_SPACE`."""

AS_FAST_AS_SWIN_T: Fields = {
    "design.resolution": 224,
    "design.macs": 6.0e9,
    "design.params": 40e6,
    "design.throughput": 767,
    "measure.batch": 128,
    "measure.references": ("swin_t",),
}
"""The budget of the paper's Table 9 beside Swin-T: its 767 images a second on a V100, float32."""

MEASURED_ON_CPU: Fields = {
    "jobs": ("measure", "design", "certify", "verify"),
    "design.throughput": 0,
    "design.resolution": 64,
    "design.classes": 100,
    "design.macs": 6e7,
    "design.params": 1.2e6,
    "design.max_width": (192,),
    "design.max_depth": (8,),
    "design.inner_ratio": (0.25, 1.0),
    "design.stem_width": (8, 32),
    "measure.batch": 4,
    "measure.fine": 16,
    "measure.clock": "cpu",
    "measure.steady": True,
    "measure.references": (),
}
"""A space whose rows a CPU times in some minutes, and others on it disturb little."""

_COCO: Fields = {
    "task": "detect",
    "jobs": ("train", "evaluate"),
    "data.train_split": "train2017",
    "data.eval_split": "val2017",
    "data.flip": 0.5,
    "train.epochs": 24.0,
    "train.warmup_epochs": 0.0,
    "train.cooldown_epochs": 0.0,
    "train.batch_size": 16,
    "train.eval_batch_size": 16,
    "train.learning_rate": 0.02,
    "train.final_learning_rate": 0.0,
    "train.momentum": 0.9,
    "train.weight_decay": 1e-4,
    "train.dtype": "float32",
    "detect.batch_norm": "affine",
    "detect.bias_rate": 1.0,
    "detect.bias_decays": True,
    "detect.warmup": "linear",
    "detect.warmup_factor": 0.001,
    "detect.warmup_steps": 500,
    "detect.drop_epochs": (16.0, 22.0),
}
"""What mmdetection's configs of 2022 share; each of the four below says what differs."""

DETECTION_RECIPES: Mapping[str, Fields] = {
    "fcos": {
        **_COCO,
        "train.learning_rate": 0.01,
        "train.clip_norm": 35.0,
        "detect.head": "fcos",
        "detect.batch_norm": "fixed",
        "detect.bias_rate": 2.0,
        "detect.bias_decays": False,
        "detect.warmup": "constant",
        "detect.warmup_factor": 1 / 3,
        "detect.short_sides": (640, 800),
    },
    "gflv2": {
        **_COCO,
        "train.learning_rate": 0.01,
        "detect.head": "gfl",
        "detect.short_sides": tuple(range(480, 961)),
    },
    "mask_rcnn": {**_COCO, "detect.head": "mask_rcnn", "detect.short_sides": (800,)},
    "cascade_mask_rcnn": {
        **_COCO,
        "train.epochs": 20.0,
        "detect.head": "cascade_mask_rcnn",
        "detect.short_sides": (800,),
        "detect.proposals": 2000,
        "detect.drop_epochs": (16.0, 19.0),
    },
}
"""Detector -> mmdetection's fcos_r50_caffe_fpn_gn-head_mstrain_640-800_2x_coco, GFocalV2's
gfocal_r50_fpn_ms2x, mmdetection's mask_rcnn_r50_fpn_2x_coco and cascade_mask_rcnn_r50_fpn_20e_coco.
Pixels are normalised as for ImageNet in all of them."""

BACKBONES: Mapping[str, Fields] = {
    "deepmad_r50": {"architecture": "deepmad_r50"},
    "resnet50": {"architecture": "resnet50"},
    "r18_alpha8": {"architecture": "deepmad_r18"},
    **{
        f"r18_{alpha}": {
            "architecture": f"runs/r18_{alpha}/architecture.json",
            "detect.pretrained": f"runs/r18_{alpha}",
        }
        for alpha in ("alpha1", "alpha16")
    },
}
"""Networks that the paper puts under detectors (Tables 4 and 7). Those of alpha 1 and 16 are
designed and trained by configs/r18.py:alpha1 and :alpha16 first."""


ADE20K_STEPS, ADE20K_IMAGES = 160_000, 20_210
"""Training steps of 16 images, and training images."""

_ADE20K: Fields = {
    "task": "segment",
    "jobs": ("train", "evaluate"),
    "data.train_split": "training",
    "data.eval_split": "validation",
    "data.flip": 0.5,
    "train.epochs": ADE20K_STEPS * 16 / ADE20K_IMAGES,
    "train.warmup_epochs": 0.0,
    "train.cooldown_epochs": 0.0,
    "train.batch_size": 16,
    "train.eval_batch_size": 8,
    "train.momentum": 0.9,
    "train.batch_norm_momentum": 0.1,
    "train.dtype": "float32",
    "train.zero_init": False,
    # Every 16,000 steps, as mmsegmentation evaluates and saves.
    "train.eval_every_epochs": 16_000 * 16 / ADE20K_IMAGES,
    "train.checkpoint_every_epochs": 4_000 * 16 / ADE20K_IMAGES,
}

_ADAMW: Fields = {
    **_ADE20K,
    "train.final_learning_rate": 0.0,
    "segment.optimizer": "adamw",
    "segment.power": 1.0,
    "segment.warmup_steps": 1500,
    "segment.warmup_factor": 1e-6,
}

SEGMENTATION_RECIPES: Mapping[str, Fields] = {
    "sgd": {
        **_ADE20K,
        "train.learning_rate": 0.01,
        "train.final_learning_rate": 1e-4,
        "train.weight_decay": 5e-4,
        "segment.optimizer": "sgd",
        "segment.power": 0.9,
    },
    "convnext": {
        **_ADAMW,
        "train.learning_rate": 1e-4,
        "train.weight_decay": 0.05,
        "train.drop_path": 0.4,
        "segment.norm_maps": True,  # Swin has its own
        "segment.decayed": "matrices",
        "segment.layer_decay": 0.9,
        "segment.window": 512,
        "segment.stride": 341,
    },
    "swin": {
        **_ADAMW,
        "train.learning_rate": 6e-5,
        "train.weight_decay": 0.01,
        "train.drop_path": 0.3,
        "segment.decayed": "no_norms",
    },
}
"""Kind of backbone -> mmsegmentation's upernet_r50_512x512_160k_ade20k,
upernet_convnext_tiny_fp16_512x512_160k_ade20k (here in float32) and
upernet_swin_tiny_patch4_window7_512x512_160k_ade20k."""

SCALES: Fields = {
    "segment.scales": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    "segment.mirrored": True,
}
"""How the numbers of Table 5 are tested."""


def _in_design(space: Space) -> Fields:
    return {f"design.{name}": value for name, value in space.items()}


BOTTLENECK_SPACE = _in_design(spaces.BOTTLENECK)
MOBILE_SPACE = _in_design(spaces.MOBILE)
INVERTED_SPACE = _in_design(spaces.INVERTED)
CIFAR_SPACE = _in_design(spaces.CIFAR)
CONVNEXT_SPACE = _in_design(spaces.CONVNEXT)
ATTENTION_SPACE = _in_design(spaces.ATTENTION)
HYBRID_SPACE = _in_design(spaces.HYBRID)
CLIPS_SPACE = _in_design(spaces.CLIPS)
"""`design.program.spaces`, as `set_fields` takes them."""


def set_fields(config: ml_collections.ConfigDict, *groups: Fields) -> None:
    """Sets fields of a config by dotted name; an unknown one fails as in a config file.

    >>> from deepmad_jax.config import default_config
    >>> config = default_config()
    >>> set_fields(config, CIFAR_RECIPE)
    >>> config.data.auto_augment, config.train.learning_rate
    ('cifar', 0.2)
    """
    for path, value in (item for fields in groups for item in fields.items()):
        *parents, leaf = path.split(".")
        group = config
        for name in parents:
            group = group[name]
        setattr(group, leaf, value)


def take_variant(
    config: ml_collections.ConfigDict, variant: str, variants: Mapping[str, Fields]
) -> None:
    """Makes a config the variant of its own of that name; the empty one leaves it as it is.

    Args:
        config: ``name`` becomes NAME_VARIANT, so that the variant has a workdir of its own.
        variant: what stands after the colon on the command line.
        variants: fields that differ, by variant.

    Raises:
        InvalidConfig: no such variant.
    """
    if not variant:
        return
    if variant not in variants:
        raise InvalidConfig(
            f"The config {config.name} has no variant {variant!r}; "
            f"{did_you_mean(variant, variants)}"
        )
    config.name = f"{config.name}_{variant}"
    set_fields(config, variants[variant])


def set_detector(config: ml_collections.ConfigDict, detector: str, backbone: str) -> None:
    """Sets a detector's recipe and its backbone; the run is called DETECTOR_BACKBONE.

    Raises:
        InvalidConfig: no such backbone.
    """
    if backbone not in BACKBONES:
        raise InvalidConfig(
            f"The config {detector} has no variant {backbone!r}; "
            f"{did_you_mean(backbone, BACKBONES)}"
        )
    config.name = f"{detector}_{backbone}"
    set_fields(config, DETECTION_RECIPES[detector], BACKBONES[backbone])


def set_segmenter(config: ml_collections.ConfigDict, recipe: str, backbone: str) -> None:
    """Sets a segmenter's recipe and its backbone, a published network; UPERNET_BACKBONE is its run.

    Args:
        config: to be set.
        recipe: one of `SEGMENTATION_RECIPES`.
        backbone: of the zoo.
    """
    config.name = f"upernet_{backbone}"
    set_fields(config, SEGMENTATION_RECIPES[recipe], {"architecture": backbone})
