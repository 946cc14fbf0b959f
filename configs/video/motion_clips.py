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
from deepmad_jax.video_recipes import MOTION_RECIPE


def get_config(variant: str = ""):
    """The config; it has no variants."""
    config = default_config()
    config.name = "motion_clips"
    set_fields(
        config,
        MOTION_RECIPE,
        {
            "design.block": "bottleneck",
            "design.frames": 16,
            "design.strides_t": (1, 2, 2),
            "design.kernels_t": (1, 3),
            "design.resolution": 48,
            "design.macs": 40e6,
            "design.rho": 0.3,
            "data.data_dir": "data/motion_plain",
            "train.epochs": 16.0,
            "train.eval_every_epochs": 4.0,
            "train.checkpoint_every_epochs": 4.0,
            "video.short_side": 54,
            "video.crop": 48,
            "video.segments": 16,
            "video.test_segments": 16,
            "video.test_crop": 54,
            "video.drop_epochs": (12.0, 14.0),
        },
    )
    return config
