"""DeepMAD-R50: the network of greatest entropy within ResNet-50's parameters and MACs.

Source: the paper's Tables 1 (budgets and rho) and 12 (recipe).
Command: python -m deepmad_jax.main --config configs/r50.py
Expected (paper, top-1): 80.6 %. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BOTTLENECK_SPACE, IMAGENET_RECIPE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "r50"
    set_fields(config, BOTTLENECK_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 4.13e9
    design.params = 25.56e6
    return config
