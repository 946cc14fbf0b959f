"""The paper's two training recipes, Table 12, its design spaces, and how config files take them.

Table 12 wins where the paper's section 5.1 differs. The paper also names random crop, resize, flip
and "lighting"; lighting is colour jitter of timm's default strength here. What neither says is
timm's default: crops of 8 to 100 % of the area, "increasing" RandAugment, noise in erased
rectangles.
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
    "data.flip": 0.5,
    "data.color_jitter": 0.4,
    "data.auto_augment": "rand-m9-mstd0.5-inc1",
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


def _in_design(space: Space) -> Fields:
    return {f"design.{name}": value for name, value in space.items()}


BOTTLENECK_SPACE = _in_design(spaces.BOTTLENECK)
MOBILE_SPACE = _in_design(spaces.MOBILE)
INVERTED_SPACE = _in_design(spaces.INVERTED)
CIFAR_SPACE = _in_design(spaces.CIFAR)
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
