"""The networks that the paper compares with, each by its authors' recipe or by the paper's.

Source: the paper's Table 3 (networks); `compared_recipes` (the authors' recipes); Table 12 (the
paper's).
Commands: python -m deepmad_jax.main --config configs/compared/networks.py:swin_t
          python -m deepmad_jax.main --config configs/compared/networks.py:swin_t_paper
          python -m deepmad_jax.main --config configs/compared/networks.py --config.jobs=compare \
              --config.names=table3
Variants: every network by name, and with ``_paper`` after it under Table 12, as DeepMAD's own are:
``configs/deepmad_29m.py`` and ``configs/compared/networks.py:swin_t_paper`` have one recipe.
Hardware: the authors trained on 8 to 32 GPUs. Expected (published, under their own recipes): the
top-1 that ``--config.jobs=describe`` prints. Training here: not yet run.
"""

from deepmad_jax.compared_recipes import NETWORK_RECIPES, own_recipe
from deepmad_jax.config import default_config
from deepmad_jax.recipes import IMAGENET_RECIPE, set_fields, take_variant

VARIANTS = {name: own_recipe(name) for name in NETWORK_RECIPES} | {
    f"{name}_paper": {
        **IMAGENET_RECIPE,
        "name": f"{name}_paper",
        "architecture": name,
        "jobs": ("train", "evaluate"),
    }
    for name in NETWORK_RECIPES
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty (Swin-T by its own recipe) or one of `VARIANTS`."""
    config = default_config()
    config.name = "compared"
    set_fields(config, own_recipe("swin_t"), {"name": "compared"})
    if variant:
        config = default_config()
        config.name = "compared"
        take_variant(config, variant, VARIANTS)
    return config
