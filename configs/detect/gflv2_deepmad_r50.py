"""GFLV2 on COCO with DeepMAD-R50, or another network, as the backbone.

Source: the paper's Table 4, 2x multi-scale schedule. Which config it took is inferred from its
baseline, ResNet-50 at 43.9 AP: GFocalV2's gfocal_r50_fpn_ms2x.
Command: python -m deepmad_jax.main --config configs/detect/gflv2_deepmad_r50.py \
             --config.data.data_dir=coco --config.detect.pretrained=runs/r50
Variants: ``configs/detect/gflv2_deepmad_r50.py:resnet50``, and ``:r18_alpha1``,
``:r18_alpha8``, ``:r18_alpha16`` (Table 7). --config.architecture takes any network or file.
Data: coco/annotations/instances_train2017.json and instances_val2017.json, and the images in
coco/train2017 and coco/val2017.
Expected: paper 44.9 AP with DeepMAD-R50 and 43.9 with ResNet-50; here not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BACKBONES, set_detector

VARIANTS = {name: fields for name, fields in BACKBONES.items() if name != "deepmad_r50"}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty, for DeepMAD-R50, or one of `VARIANTS`."""
    config = default_config()
    set_detector(config, "gflv2", variant or "deepmad_r50")
    return config
