"""DeepMAD-R50: the network of greatest entropy within ResNet-50's parameters and MACs.

Source: the paper's Tables 1 and 9 (budgets and rho) and 12 (recipe).
Command: python -m deepmad_jax.main --config configs/r50.py
Variants: ``configs/r50.py:gpu`` has the size of the net that is as fast as ResNet-50 on a V100.
Expected (paper, top-1): 80.6 %; 80.0 % for the one as fast as ResNet-50. Training here: not yet
run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BOTTLENECK_SPACE, IMAGENET_RECIPE, set_fields, take_variant

VARIANTS = {
    "gpu": {"design.macs": 3.0e9, "design.params": 19e6},
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "r50"
    set_fields(config, BOTTLENECK_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 4.13e9
    design.params = 25.56e6

    take_variant(config, variant, VARIANTS)
    return config
