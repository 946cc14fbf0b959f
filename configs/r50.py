"""DeepMAD-R50: the network of greatest entropy within ResNet-50's parameters and MACs.

Source: the paper's Table 1 (budgets, strides and rho) and Table 12 (recipe; mixup, cutmix, random
erasing and RandAugment are still missing).
Command: python -m deepmad_jax.main --config configs/r50.py
Expected: the paper reports 80.6 % top-1. Training here: not yet run.
"""

from deepmad_jax.config import default_config


def get_config():
    """The config."""
    config = default_config()
    config.name = "r50"

    design = config.design
    design.block = "bottleneck"
    design.strides = (2, 2, 2, 1, 2)
    design.kernels = (3, 5)
    design.inner_ratio = (0.1, 1.0)
    design.stem_width = (8, 64)
    design.rho = 0.3
    design.resolution = 224
    design.macs = 4.13e9
    design.params = 25.56e6

    config.data.source = "tfds"
    config.data.name = "imagenet2012"
    return config
