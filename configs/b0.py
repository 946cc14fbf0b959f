"""DeepMAD-B0: within EfficientNet-B0's parameters and MACs, seven stages.

Source: the paper's Table 2 (budgets, strides and rho) and Table 12 (recipe; mixup, cutmix, random
erasing and RandAugment are still missing).
Command: python -m deepmad_jax.main --config configs/b0.py
Expected: the paper reports 76.1 % top-1. Training here: not yet run.
"""

from deepmad_jax.config import default_config


def get_config():
    """The config."""
    config = default_config()
    config.name = "b0"

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
    design.macs = 390e6
    design.params = 5.3e6

    config.data.source = "tfds"
    config.data.name = "imagenet2012"
    return config
