"""Videos whose class is told by the order of their frames alone: 3-D blocks, on a CPU.

Source: `deepmad_jax.data.motion` without its afterglow, drawn by launch/draw_motion.py.
Commands: python launch/draw_motion.py data/motion_plain --trail 1
          python -m deepmad_jax.main --config configs/video/motion_clips.py
The same videos for TSN, which sees no order: add --config.data.data_dir=data/motion_plain to
configs/video/motion.py.
Expected, on 120 videos at seed 0 (2026-11-30): top-1 100 %, in 13 minutes on two busy CPU cores;
TSN has 32.5 % on them.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import set_fields


def get_config(variant: str = ""):
    """The config; it has no variants."""
    config = default_config()
    config.name = "motion_clips"
    config.task = "video"

    set_fields(
        config,
        {
            "design.block": "bottleneck",
            "design.frames": 16,
            "design.strides": (2, 2, 2),
            "design.strides_t": (1, 2, 2),
            "design.kernels": (3,),
            "design.kernels_t": (1, 3),
            "design.inner_ratio": (0.25, 1.0),
            "design.stem_width": (16, 24),
            "design.resolution": 48,
            "design.classes": 6,
            "design.macs": 40e6,
            "design.params": 0.2e6,
            "design.rho": 0.3,
        },
    )
    data = config.data
    data.data_dir, data.train_split, data.eval_split = "data/motion_plain", "train", "val"
    data.flip = 0.0  # mirrored, left is right
    data.crop_scale_min = 0.7

    train = config.train
    train.epochs, train.warmup_epochs, train.cooldown_epochs = 16, 0, 0
    train.optimizer = "adamw"
    train.batch_size, train.eval_batch_size = 16, 10
    train.learning_rate, train.final_learning_rate = 4e-3, 0.0
    train.weight_decay = 1e-2
    train.batch_norm_momentum = 0.1
    train.label_smoothing = 0.0
    train.zero_init = False
    train.dtype = "float32"
    train.log_every_steps = 40
    train.eval_every_epochs = train.checkpoint_every_epochs = 4

    video = config.video
    video.layout, video.video_folder = "folder", "{split}"
    video.short_side, video.crop = 54, 48
    video.segments = video.test_segments = 16
    video.test_crops, video.test_crop = "three", 54
    video.drop_epochs = (12, 14)
    return config
