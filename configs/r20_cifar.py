"""A CIFAR-100 network within ResNet-20's parameters and MACs.

Source: the paper's section 5.3 (space) and Table 12 (recipe, CIFAR-100 column).
Command: python -m deepmad_jax.main --config configs/r20_cifar.py
Expected: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import CIFAR_RECIPE, CIFAR_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "r20_cifar"
    set_fields(config, CIFAR_SPACE, CIFAR_RECIPE)

    design = config.design
    design.resolution = 32
    design.classes = 100
    design.macs = 41e6
    design.params = 0.28e6
    design.rho = 0.5
    return config
