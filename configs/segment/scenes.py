"""Drawn scenes: a small network designed, trained and judged in minutes on a CPU.

Source: `deepmad_jax.data.scenes`, drawn by launch/draw_scenes.py.
Commands: python launch/draw_scenes.py data/scenes
          python -m deepmad_jax.main --config configs/segment/scenes.py
Expected, on 60 images at seed 0 (2026-11-30): mIoU 0.833, in 9.5 minutes on two busy CPU cores.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import set_fields


def get_config(variant: str = ""):
    """The config; it has no variants."""
    config = default_config()
    config.name = "scenes"
    config.task = "segment"

    set_fields(
        config,
        {
            "design.block": "basic",
            "design.strides": (2, 2, 2, 2),
            "design.kernels": (3,),
            "design.inner_ratio": (0.25, 1.0),
            "design.stem_width": (16, 24),
            "design.resolution": 128,
            "design.macs": 40e6,
            "design.params": 0.4e6,
            "design.rho": 0.1,
        },
    )
    config.data.data_dir = "data/scenes"
    config.data.train_split, config.data.eval_split = "training", "validation"

    train = config.train
    train.epochs, train.warmup_epochs, train.cooldown_epochs = 50, 0, 0
    train.batch_size, train.eval_batch_size = 16, 10
    train.learning_rate, train.final_learning_rate = 5e-3, 0.0
    train.weight_decay = 1e-2
    train.batch_norm_momentum = 0.1
    train.zero_init = False
    train.dtype = "float32"
    train.log_every_steps = 50
    train.eval_every_epochs = train.checkpoint_every_epochs = 10

    segment = config.segment
    segment.classes = 6
    segment.width, segment.aux_width = 32, 32
    segment.short_side, segment.long_side, segment.crop = 96, 192, 96
    segment.scale_range = (0.9, 1.2)
    segment.optimizer, segment.decayed = "adamw", "matrices"
    segment.warmup_steps = 50
    segment.aspects = (1.0, 4 / 3, 1.5)
    return config
