"""DeepMAD-MB: within MobileNetV2's parameters and MACs, seven stages.

Source: the paper's Tables 2 and 10 (budgets, strides and rho) and 12 (recipe).
Command: python -m deepmad_jax.main --config configs/mb.py
Variants: ``configs/mb.py:rho1.0``.
Expected (paper, top-1): 72.3 % at rho 0.5, 72.9 % at 1.0. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import IMAGENET_RECIPE, set_fields, take_variant

VARIANTS = {
    "rho1.0": {"design.rho": 1.0},
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "mb"
    set_fields(config, IMAGENET_RECIPE)

    design = config.design
    design.block = "mbconv_se"
    design.strides = (1, 2, 2, 2, 1, 2, 1)
    design.kernels = (3, 5)
    design.inner_ratio = (1.5, 6.0)
    design.stem_width = (16, 32)
    design.max_width = (1280,)
    design.final_width = 1280
    design.rho = 0.5
    design.resolution = 224
    design.macs = 320e6
    design.params = 3.5e6

    config.data.source = "tfds"
    config.data.name = "imagenet2012"

    take_variant(config, variant, VARIANTS)
    return config
