"""Attention blocks within the parameters and MACs of ViT-S: a design beyond the paper.

Source: blocks Dosovitskiy et al. 2020 (arXiv 2010.11929), recipe Touvron et al. 2021 (arXiv
2012.12877); the program is ours, after the paper's.
Command: python -m deepmad_jax.main --config configs/further/vit_s.py
Proof of how close the design is to optimal: add --config.jobs=design,certify
Hardware: the design takes a second or two of a CPU; the training is written for eight accelerators
or more. Expected: the design's numbers, `docs/further.md`. Training here: not yet run.
"""

from deepmad_jax.compared_recipes import FAMILY_RECIPES
from deepmad_jax.config import default_config
from deepmad_jax.recipes import ATTENTION_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "vit_s"
    set_fields(config, ATTENTION_SPACE, FAMILY_RECIPES["deit"])

    design = config.design
    design.resolution = 224
    design.macs = 4.61e9
    design.params = 22.06e6
    return config
