"""Handwritten digits: design, training and evaluation in a few minutes on a CPU.

Source: scikit-learn's 8x8 digits, brought to 16x16 (shipped with it, no download).
Command: python -m deepmad_jax.main --config configs/digits.py
"""

from deepmad_jax.config import default_config


def get_config():
    """The config."""
    config = default_config()
    config.name = "digits"

    design = config.design
    design.block = "basic"
    design.strides = (1, 2, 2)
    design.kernels = (3,)
    design.inner_ratio = (0.25, 1.0)
    design.stem_width = (4, 32)
    design.stem_stride = 1
    design.multiple_of = 4
    design.min_width = (4,)
    design.resolution = 16
    design.in_channels = 1
    design.classes = 10
    design.macs = 5e6
    design.params = 0.05e6
    design.rho = 0.2

    config.data.source = "digits"
    return config
