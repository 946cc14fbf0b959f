"""Mask R-CNN on COCO with DeepMAD-R50, or another network, as the backbone.

Source: named in the caption of the paper's Table 4, which prints no number for it; recipe of
mmdetection's mask_rcnn_r50_fpn_2x_coco.
Command: python -m deepmad_jax.main --config configs/detect/mask_rcnn_deepmad_r50.py \
             --config.data.data_dir=coco --config.detect.pretrained=runs/r50
Variants: ``configs/detect/mask_rcnn_deepmad_r50.py:resnet50``, and ``:r18_alpha1``,
``:r18_alpha8``, ``:r18_alpha16`` (Table 7). --config.architecture takes any network or file.
Data: coco/annotations/instances_train2017.json and instances_val2017.json, and the images in
coco/train2017 and coco/val2017.
Expected: mmdetection 39.2 box AP and 35.4 mask AP with ResNet-50; here not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import BACKBONES, set_detector

VARIANTS = {name: fields for name, fields in BACKBONES.items() if name != "deepmad_r50"}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty, for DeepMAD-R50, or one of `VARIANTS`."""
    config = default_config()
    set_detector(config, "mask_rcnn", variant or "deepmad_r50")
    return config
