"""DeepMAD-ST-GPU: of the size of the net that is as fast as Swin-T on a V100.

Source: the paper's Table 9 (budgets) and Table 12 (recipe). The paper does not say which blocks it
has; here it has those of DeepMAD-R50-GPU, beside which it stands.
Command: python -m deepmad_jax.main --config configs/st_gpu.py
Expected (paper, top-1): 81.7 %. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BOTTLENECK_SPACE, IMAGENET_RECIPE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "st_gpu"
    set_fields(config, BOTTLENECK_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 6.0e9
    design.params = 40e6
    return config
