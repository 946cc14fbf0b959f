"""DeepMAD-29M: SE inverted bottlenecks within 29 M parameters and 4.5 G MACs.

Source: the paper's Table 3 (budgets, strides and rho) and Table 12 (recipe; mixup, cutmix, random
erasing and RandAugment are still missing).
Command: python -m deepmad_jax.main --config configs/deepmad_29m.py
Variants: ``configs/deepmad_29m.py:288`` is designed for and trained at 288 pixels.
Expected: the paper reports 82.5 (82.8 at 288 pixels) % top-1. Training here: not yet run.
"""

from deepmad_jax.config import default_config


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or ``288``."""
    config = default_config()
    config.name = "deepmad_29m"

    design = config.design
    design.block = "mbconv_se"
    design.strides = (1, 2, 2, 2, 2)
    design.kernels = (5,)
    design.inner_ratio = (6.0,)
    design.stem_width = (16, 64)
    design.max_width = (1280,)
    design.final_width = 1792
    design.rho = 0.5
    design.resolution = 224
    design.macs = 4.5e9
    design.params = 29e6

    if variant == "288":
        config.name = "deepmad_29m_288"
        design.strides = (2, 2, 2, 1, 2)
        design.resolution = 288
    elif variant:
        raise ValueError(f"configs/deepmad_29m.py has no variant {variant!r}; known: 288")

    config.data.source = "tfds"
    config.data.name = "imagenet2012"
    return config
