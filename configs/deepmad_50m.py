"""DeepMAD-50M: SE inverted bottlenecks within 50 M parameters and 8.7 G MACs.

Source: the paper's Table 3 (budgets, strides and rho) and Table 12 (recipe).
Command: python -m deepmad_jax.main --config configs/deepmad_50m.py
Expected (paper, top-1): 83.9 %. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import IMAGENET_RECIPE, INVERTED_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "deepmad_50m"
    set_fields(config, INVERTED_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.final_width = 2048
    design.resolution = 224
    design.macs = 8.7e9
    design.params = 50e6
    return config
