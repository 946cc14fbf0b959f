"""A backbone designed for detection: ResNet-18's budget at 800 x 1280 pixels, levels as used there.

Source: level weights (0, 0, 1, 1, 6) on strides 2 to 32 after MAE-DET (Sun et al. 2021, arXiv
2111.13336); the last level's weights of the variants and their COCO AP: the paper's Table 7, which
designed at 224 pixels.
Command: python -m deepmad_jax.main --config configs/further/detection_r18.py
         python -m deepmad_jax.main --config configs/detect/fcos_deepmad_r50.py \
             --config.architecture=runs/detection_r18/architecture.json
Variants: ``alpha1``, ``alpha8`` and ``alpha16``, the weights of Table 7's rows at this image size.
Hardware: the design takes a second or two of a CPU. Expected: the design's numbers; no detector of
it has been trained on COCO here.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BOTTLENECK_SPACE, set_fields, take_variant

VARIANTS = {
    f"alpha{last}": {"design.alpha": (1.0, 1.0, 1.0, 1.0, float(last))} for last in (1, 8, 16)
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "detection_r18"
    config.jobs = ("design",)
    set_fields(config, BOTTLENECK_SPACE)

    design = config.design
    design.resolution, design.resolution_w = 800, 1280
    design.macs = 1.82e9 * 800 * 1280 / 224**2  # the same widths at more pixels
    design.params = 11.69e6
    design.alpha = (0.0, 0.0, 1.0, 1.0, 6.0)

    take_variant(config, variant, VARIANTS)
    return config
