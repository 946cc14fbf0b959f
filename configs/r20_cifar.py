"""A CIFAR-100 network within ResNet-20's parameters and MACs.

Source: the paper's section 5.3 (space) and Table 12 (recipe, CIFAR-100 column).
Command: python -m deepmad_jax.main --config configs/r20_cifar.py
Expected: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import CIFAR_RECIPE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "r20_cifar"
    set_fields(config, CIFAR_RECIPE)

    design = config.design
    design.block = "basic"
    design.strides = (1, 2, 2)
    design.kernels = (3,)
    design.inner_ratio = (0.25, 1.0)
    design.stem_width = (4, 64)
    design.stem_stride = 1
    design.multiple_of = 4
    design.min_width = (4,)
    design.resolution = 32
    design.classes = 100
    design.macs = 41e6
    design.params = 0.28e6
    design.rho = 0.5

    config.data.source = "tfds"
    config.data.name = "cifar100"
    config.data.eval_split = "test"
    return config
