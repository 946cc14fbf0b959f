"""Drawn shapes: a small detector designed, trained and judged in minutes on a CPU.

Source: `deepmad_jax.data.shapes`, drawn by launch/draw_shapes.py.
Commands: python launch/draw_shapes.py data/shapes
          python -m deepmad_jax.main --config configs/detect/shapes.py
Variants: ``configs/detect/shapes.py:gfl``, ``:mask_rcnn`` and ``:cascade_mask_rcnn``.
Expected, on 60 images at seed 0 and two busy CPU cores (2026-11-26): FCOS box AP50 0.884 in 3
minutes; GFLV2 0.998 in 4; Mask R-CNN 0.962, its masks 0.957, in 6;
the cascade 0.967, its masks 0.947.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import set_fields, take_variant

_PROPOSALS = {
    "train.epochs": 20.0,
    "train.learning_rate": 0.04,
    "detect.drop_epochs": (14.0, 18.0),
}

VARIANTS = {
    "gfl": {"detect.head": "gfl", "train.epochs": 40.0, "detect.drop_epochs": (28.0, 36.0)},
    "mask_rcnn": {**_PROPOSALS, "detect.head": "mask_rcnn"},
    "cascade_mask_rcnn": {**_PROPOSALS, "detect.head": "cascade_mask_rcnn"},
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty, for FCOS, or one of `VARIANTS`."""
    config = default_config()
    config.name = "shapes"
    config.task = "detect"

    set_fields(
        config,
        {
            "design.block": "basic",
            "design.strides": (2, 2, 2, 2),
            "design.kernels": (3,),
            "design.inner_ratio": (0.25, 1.0),
            "design.stem_width": (8, 16),
            "design.resolution": 128,
            "design.macs": 20e6,
            "design.params": 0.4e6,
            "design.rho": 0.3,
        },
    )
    config.data.data_dir = "data/shapes"
    config.data.train_split, config.data.eval_split = "train", "val"

    train = config.train
    train.epochs, train.warmup_epochs, train.cooldown_epochs = 60, 0, 0
    train.batch_size, train.eval_batch_size = 16, 20
    train.learning_rate, train.final_learning_rate = 0.06, 0.0
    train.weight_decay, train.clip_norm = 1e-4, 35.0
    train.batch_norm_momentum = 0.1
    train.zero_init = False
    train.dtype = "float32"
    train.log_every_steps = 50
    train.eval_every_epochs = train.checkpoint_every_epochs = 10

    detect = config.detect
    detect.width, detect.depth, detect.groups, detect.hidden = 32, 2, 8, 128
    detect.candidates = detect.eval_candidates = 200
    detect.proposals = detect.eval_proposals = 100
    detect.anchor_samples, detect.proposal_samples = 64, 64
    detect.frozen_stages, detect.batch_norm = 0, "trained"
    detect.short_sides, detect.eval_short_side, detect.long_side = (96, 112, 128), 112, 128
    detect.most_boxes, detect.mask_px = 8, 56
    detect.warmup_steps = 100
    detect.drop_epochs = (45.0, 55.0)

    take_variant(config, variant, VARIANTS)
    return config
