"""TSN on UCF101 (split 1) with DeepMAD-R50 as the backbone.

Source: the paper's Table 6. Which config the paper took is inferred from its baseline: mmaction2's
tsn_r50_1x1x3_75e_ucf101_rgb.
Command: python -m deepmad_jax.main --config configs/video/tsn_deepmad_r50_ucf101.py \
             --config.data.data_dir=DIR --config.video.pretrained=WEIGHTS
Data: UCF-101/CLASS/*.avi and ucfTrainTestlist/ below DIR.
Expected: paper 86.9 top-1; training here: not yet run.
Hardware and time: not known for these devices; the recipe is 75 epochs of 256 clips a step.
"""

from deepmad_jax.config import default_config
from deepmad_jax.video_recipes import set_recogniser


def get_config(variant: str = ""):
    """The config; it has no variants."""
    config = default_config()
    set_recogniser(config, "ucf101", "deepmad_r50")
    return config
