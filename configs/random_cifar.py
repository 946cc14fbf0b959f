"""Random CIFAR-100 networks of ResNet-20's size: what accuracy owes to entropy and to rho.

Source: the paper's section 5.3 and Figure 5 (65 networks, 0.04G MACs, 0.27M params, rho 0.1 to 1)
and Table 12 (recipe, CIFAR-100 column). The space is that of ``configs/r20_cifar.py``; which
networks the paper drew is not published.
Command: python -m deepmad_jax.main --config configs/random_cifar.py:17
Variants: ``:0`` to ``:64``, the network's number by ascending rho; each has a workdir of its own.
Expected (paper): accuracy greatest near rho 0.5, and Kendall's tau of entropy against accuracy 0.77
around it. Training here: not yet run; ``benchmarks/digits_entropy.py`` is the same on digits.
"""

import math

from deepmad_jax.config import default_config
from deepmad_jax.recipes import CIFAR_RECIPE, CIFAR_SPACE, set_fields, take_variant

VARIANTS = {str(i): {"sample.index": i} for i in range(65)}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "random_cifar"
    config.jobs = ("sample", "train", "evaluate")
    set_fields(config, CIFAR_SPACE, CIFAR_RECIPE)

    design = config.design
    design.resolution = 32
    design.classes = 100
    design.macs = 41e6
    design.params = 0.28e6
    design.rho = math.inf  # each network's own, by its stratum

    config.sample.count = 65
    config.sample.rho_low, config.sample.rho_high = 0.1, 1.0
    config.sample.max_growth = 2.0

    take_variant(config, variant, VARIANTS)
    return config
