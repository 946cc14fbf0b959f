"""Small videos of moving shapes: a network designed, trained and judged in minutes on a CPU.

Source: `deepmad_jax.data.motion`, drawn by launch/draw_motion.py.
Commands: python launch/draw_motion.py data/motion
          python -m deepmad_jax.main --config configs/video/motion.py
Expected, on 120 videos at seed 0 (2026-11-30): top-1 99.2 %, in 11 minutes on two busy CPU cores,
5.8 of CPU time.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import set_fields
from deepmad_jax.video_recipes import MOTION_RECIPE


def get_config(variant: str = ""):
    """The config; it has no variants."""
    config = default_config()
    config.name = "motion"
    set_fields(
        config,
        MOTION_RECIPE,
        {
            "design.block": "basic",
            "design.resolution": 64,
            "design.macs": 12e6,
            "design.rho": 0.1,
            "data.data_dir": "data/motion",
            "train.epochs": 20.0,
            "train.eval_every_epochs": 5.0,
            "train.checkpoint_every_epochs": 5.0,
            "video.short_side": 72,
            "video.crop": 64,
            "video.test_segments": 8,
            "video.test_crop": 72,
            "video.drop_epochs": (15.0, 18.0),
        },
    )
    return config
