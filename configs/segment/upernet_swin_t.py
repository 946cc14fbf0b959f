"""UPerNet on ADE20K with Swin-T as the backbone.

Source: the paper's Table 5. Which config the paper took is inferred from its baselines:
mmsegmentation's upernet_swin_tiny_patch4_window7_512x512_160k_ade20k.
Command: python -m deepmad_jax.main --config configs/segment/upernet_swin_t.py \
             --config.data.data_dir=ADEChallengeData2016 --config.segment.pretrained=WEIGHTS
Variants: ``configs/segment/upernet_swin_t.py:scales`` is tested as the paper's
table is: give it the workdir of a run and --config.jobs=evaluate.
Data: images/ and annotations/ of ADEChallengeData2016, training and validation.
Expected: paper 45.8 mIoU (mmsegmentation: 45.79, one scale 44.41), tested at six scales and
mirrored; training here: not yet run. Hardware and time: not known for these devices; the recipe is
160,000 steps of 16 crops.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import SCALES, set_segmenter, take_variant

VARIANTS = {"scales": SCALES}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    set_segmenter(config, "swin", "swin_t")
    take_variant(config, variant, VARIANTS)
    return config
