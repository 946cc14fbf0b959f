"""Handwritten digits: design, training and evaluation in a minute on a CPU.

Source: scikit-learn's 8x8 digits, brought to 16x16 (shipped with it, no download).
Command: python -m deepmad_jax.main --config configs/digits.py
Expected: 99.4 % of the 360 test images at seed 0, in about a minute on 2 CPU cores (2026-11-30).
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import CIFAR_SPACE, DIGITS_RECIPE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "digits"
    set_fields(config, CIFAR_SPACE, DIGITS_RECIPE)

    design = config.design
    design.macs = 5e6
    design.params = 0.05e6
    design.rho = 0.2
    return config
