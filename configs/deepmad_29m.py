"""DeepMAD-29M: SE inverted bottlenecks within 29 M parameters and 4.5 G MACs.

Source: the paper's Table 3 (budgets, strides and rho) and Table 12 (recipe).
Command: python -m deepmad_jax.main --config configs/deepmad_29m.py
Variants: ``configs/deepmad_29m.py:288`` is designed for and trained at 288 pixels.
``:finetune288`` trains the network of runs/deepmad_29m, which was trained at 224 pixels, for 30
epochs at 288. That recipe is ours: the paper designs anew for 288.
Expected (paper, top-1): 82.5 %, 82.8 % at 288 pixels. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import IMAGENET_RECIPE, INVERTED_SPACE, set_fields, take_variant

VARIANTS = {
    "288": {"design.strides": (2, 2, 2, 1, 2), "design.resolution": 288},
    "finetune288": {
        "jobs": ("train", "evaluate"),
        "architecture": "runs/deepmad_29m/architecture.json:resolution=288",
        "train.pretrained": "runs/deepmad_29m",
        "train.epochs": 30.0,
        "train.warmup_epochs": 0.0,
        "train.cooldown_epochs": 0.0,
        "train.batch_size": 512,
        "train.learning_rate": 0.01,
    },
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "deepmad_29m"
    set_fields(config, INVERTED_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.strides = (1, 2, 2, 2, 2)
    design.kernels = (5,)
    design.final_width = 1792
    design.resolution = 224
    design.macs = 4.5e9
    design.params = 29e6

    take_variant(config, variant, VARIANTS)
    return config
