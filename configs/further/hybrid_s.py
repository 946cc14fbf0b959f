"""Two stages of ConvNeXt blocks, two of attention, within ConvNeXt-T's budget: beyond the paper.

Source: blocks Liu et al. 2022 (arXiv 2201.03545) and Dosovitskiy et al. 2020 (arXiv 2010.11929),
recipe Liu et al. 2021 (arXiv 2103.14030); the program is ours, after the paper's.
Command: python -m deepmad_jax.main --config configs/further/hybrid_s.py
Proof of how close the design is to optimal: add --config.jobs=design,certify
Hardware: the design takes a second or two of a CPU; the training is written for eight accelerators
or more. Expected: the design's numbers, `docs/further.md`. Training here: not yet run.
"""

from deepmad_jax.compared_recipes import FAMILY_RECIPES
from deepmad_jax.config import default_config
from deepmad_jax.recipes import HYBRID_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "hybrid_s"
    set_fields(config, HYBRID_SPACE, FAMILY_RECIPES["swin"])

    design = config.design
    design.resolution = 224
    design.macs = 4.5e9
    design.params = 28.6e6
    return config
