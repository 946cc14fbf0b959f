"""DeepMAD-R18: the network of greatest entropy within ResNet-18's parameters and MACs.

Source: the paper's Tables 1, 7 and 10 (budgets, rho and alpha) and 12 (recipe).
Command: python -m deepmad_jax.main --config configs/r18.py
Variants: ``configs/r18.py:rho0.5`` and the others below. ``configs/r18.py:quick`` trains a few
steps on generated 64-pixel images, to see the road.
Expected (paper, top-1): 77.7 % at rho 0.3; at rho 0.1, 0.15, 0.5 and 0.7: 76.9, 78.2, 77.5 and
75.7 %; with a weight of 1 and 16 on the last level: 76.7 and 78.7 %. Training here: not yet run.
For ``fitted`` nobody has published an accuracy.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BOTTLENECK_SPACE, IMAGENET_RECIPE, set_fields, take_variant

VARIANTS = {
    "rho0.1": {"design.rho": 0.1},
    "rho0.15": {"design.rho": 0.15},
    "rho0.5": {"design.rho": 0.5},
    "rho0.7": {"design.rho": 0.7},
    "alpha1": {"design.alpha": (1.0, 1.0, 1.0, 1.0, 1.0)},
    "alpha16": {"design.alpha": (1.0, 1.0, 1.0, 1.0, 16.0)},
    # Of public tables of networks that were not designed (docs/evidence.md). Nothing was trained.
    "fitted": {"design.alpha": (1.0, 1.0, 1.0, 1.0, 0.5), "design.beta": 0.0},
    # What the paper's words leave open, see `recipes`.
    "inc1": {"data.auto_augment": "rand-m9-mstd0.5-inc1"},
    "no_jitter": {"data.color_jitter": 0.0},
    "quick": {
        "data.source": "fake",
        "data.fake_images": 64,
        "design.resolution": 64,
        "design.macs": 1.82e9 / 12.25,  # (224 / 64)^2: the same widths at fewer pixels
        "train.batch_size": 16,
        "train.eval_batch_size": 16,
        "train.learning_rate": 0.02,
        "train.epochs": 2.0,
        "train.warmup_epochs": 0.0,
        "train.cooldown_epochs": 0.0,
        "train.log_every_steps": 1,
        "train.dtype": "float32",
        "train.batch_norm_momentum": 0.1,  # 0.01 would barely move in so few steps
        # Whoever looks at a few steps wants to see the loss fall, which the recipe delays.
        "data.auto_augment": None,
        "data.color_jitter": 0.0,
        "data.random_erasing": 0.0,
        "data.mixup": 0.0,
        "data.cutmix": 0.0,
    },
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "r18"
    set_fields(config, BOTTLENECK_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 1.82e9
    design.params = 11.69e6

    take_variant(config, variant, VARIANTS)
    return config
