"""DeepMAD-R34: the network of greatest entropy within ResNet-34's parameters and MACs.

Source: the paper's Tables 1 and 10 (budgets and rho) and 12 (recipe).
Command: python -m deepmad_jax.main --config configs/r34.py
Variants: ``configs/r34.py:rho0.15``.
Expected (paper, top-1): 79.7 % at rho 0.3, 80.3 % at 0.15. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BOTTLENECK_SPACE, IMAGENET_RECIPE, set_fields, take_variant

VARIANTS = {
    "rho0.15": {"design.rho": 0.15},
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "r34"
    set_fields(config, BOTTLENECK_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 3.68e9
    design.params = 21.80e6

    take_variant(config, variant, VARIANTS)
    return config
