"""TSN on Kinetics-400 with DeepMAD-R50 as the backbone.

Source: the paper's Table 6. Which config the paper took is inferred from its baseline: mmaction2's
tsn_r50_1x1x3_100e_kinetics400_rgb.
Command: python -m deepmad_jax.main --config configs/video/tsn_deepmad_r50_kinetics400.py \
             --config.data.data_dir=DIR --config.video.pretrained=WEIGHTS
Data: annotations/train.csv and val.csv, train/ and val/ with the clips, below DIR.
Expected: paper 71.6 top-1; training here: not yet run.
Hardware and time: not known for these devices; the recipe is 100 epochs of 256 clips a step.
"""

from deepmad_jax.config import default_config
from deepmad_jax.video_recipes import set_recogniser


def get_config(variant: str = ""):
    """The config; it has no variants."""
    config = default_config()
    set_recogniser(config, "kinetics400", "deepmad_r50")
    return config
