"""Any published network: its table, its training under the paper's recipe, others beside it.

Source: `deepmad_jax.zoo`, where each network has its own; recipe: the paper's Table 12.
Commands: python -m deepmad_jax.main --config configs/zoo.py --config.name=resnet50
          python -m deepmad_jax.main --config configs/zoo.py --config.name=resnet50 \
              --config.jobs=describe
          python -m deepmad_jax.main --config configs/zoo.py --config.jobs=compare \
              --config.names=resnet50,deepmad_r50,runs/r50/architecture.json
Variants: ``configs/zoo.py:cifar100`` trains the 32-pixel networks (--config.name=resnet20) on
CIFAR-100 with that column of Table 12.
Expected: describe and compare print the published top-1. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import CIFAR_RECIPE, IMAGENET_RECIPE, set_fields, take_variant

VARIANTS = {
    "cifar100": {
        **CIFAR_RECIPE,
        "name": "resnet20",
        "data.name": "cifar100",
        "data.eval_split": "test",
    },
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "resnet50"
    config.jobs = ("train", "evaluate")
    set_fields(config, IMAGENET_RECIPE)
    config.data.source = "tfds"
    config.data.name = "imagenet2012"

    take_variant(config, variant, VARIANTS)
    # One way: --config.architecture=... leaves the name, and so the workdir, alone.
    config.architecture = config.get_oneway_ref("name")
    if variant == "cifar100":
        config.architecture = config.get_oneway_ref("name") + ":classes=100"
    return config
