"""DeepMAD-89M: SE inverted bottlenecks within 89 M parameters and 15.4 G MACs.

Source: the paper's Table 3 (budgets, strides and rho) and Table 12 (recipe).
Command: python -m deepmad_jax.main --config configs/deepmad_89m.py
Expected (paper, top-1): 84.0 %. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import IMAGENET_RECIPE, INVERTED_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "deepmad_89m"
    set_fields(config, INVERTED_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.final_width = 2560
    design.resolution = 224
    design.macs = 15.4e9
    design.params = 89e6
    return config
