"""DeepMAD-B0: within EfficientNet-B0's parameters and MACs, seven stages.

Source: the paper's Tables 2 and 8 (budgets, strides, rho and guidelines) and 12 (recipe).
Command: python -m deepmad_jax.main --config configs/b0.py
Variants: ``configs/b0.py:rho0.3`` and other rho; ``configs/b0.py:120epochs``, and the same without
guideline 1 (weighted multi-scale entropy), 2 (uniform depth) or 3 (widths that do not shrink).
Expected (paper, top-1): 76.1 % at rho 0.5; at rho 0.3, 1.0, 1.5 and 2.0: 74.3, 75.9, 75.7 and
74.9 %; after 120 epochs 73.7 %, without guideline 1, 2 or 3: 73.5, 73.5 and 73.1 %. Training here:
not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import IMAGENET_RECIPE, MOBILE_SPACE, set_fields, take_variant

VARIANTS = {
    "rho0.3": {"design.rho": 0.3},
    "rho1.0": {"design.rho": 1.0},
    "rho1.5": {"design.rho": 1.5},
    "rho2.0": {"design.rho": 2.0},
    "120epochs": {"train.epochs": 120.0},
    "without1": {"train.epochs": 120.0, "design.alpha": (0.0, 0.0, 0.0, 0.0, 8.0)},
    "without2": {"train.epochs": 120.0, "design.beta": 0.0},
    "without3": {"train.epochs": 120.0, "design.monotone": False},
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "b0"
    set_fields(config, MOBILE_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 390e6
    design.params = 5.3e6

    take_variant(config, variant, VARIANTS)
    return config
