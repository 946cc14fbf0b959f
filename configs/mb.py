"""DeepMAD-MB: within MobileNetV2's parameters and MACs, seven stages.

Source: the paper's Tables 2 and 10 (budgets, strides and rho) and 12 (recipe).
Command: python -m deepmad_jax.main --config configs/mb.py
Variants: ``configs/mb.py:rho1.0``.
Expected (paper, top-1): 72.3 % at rho 0.5, 72.9 % at 1.0. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import IMAGENET_RECIPE, MOBILE_SPACE, set_fields, take_variant

VARIANTS = {
    "rho1.0": {"design.rho": 1.0},
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "mb"
    set_fields(config, MOBILE_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 320e6
    design.params = 3.5e6

    take_variant(config, variant, VARIANTS)
    return config
