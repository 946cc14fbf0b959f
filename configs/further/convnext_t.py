"""ConvNeXt blocks within ConvNeXt-T's parameters and MACs: a design beyond the paper.

Source: blocks and recipe Liu et al. 2022 (arXiv 2201.03545); the program is ours, after the
paper's.
Command: python -m deepmad_jax.main --config configs/further/convnext_t.py
Proof of how close the design is to optimal: add --config.jobs=design,certify
Hardware: the design takes a second or two of a CPU; the training is written for eight accelerators
or more. Expected: the design's numbers, `docs/further.md`. Training here: not yet run.
"""

from deepmad_jax.compared_recipes import FAMILY_RECIPES
from deepmad_jax.config import default_config
from deepmad_jax.recipes import CONVNEXT_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "convnext_t"
    set_fields(config, CONVNEXT_SPACE, FAMILY_RECIPES["convnext"])

    design = config.design
    design.resolution = 224
    design.macs = 4.5e9
    design.params = 28.6e6
    return config
