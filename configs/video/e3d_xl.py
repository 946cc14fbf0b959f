"""3-D blocks within the budget of X3D-XL, trained on Kinetics-400.

Source: the program of E3D (Wang et al. 2023, arXiv 2303.02693) without its refinement factor, which
is not the DeepMAD paper's; the budget is X3D-XL's (Feichtenhofer 2020, arXiv 2004.04730).
Command: python -m deepmad_jax.main --config configs/video/e3d_xl.py --config.data.data_dir=DIR
Data: as configs/video/tsn_resnet50_kinetics400.py has it, below DIR.
Proof of how close the design is to optimal: add --config.jobs=design,certify
Hardware and time: the design takes half a minute of a CPU; the training is not known.
Expected: the design's numbers, docs/video.md. Training here: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.video_recipes import set_clips


def get_config(variant: str = ""):
    """The config; it has no variants."""
    config = default_config()
    set_clips(config, "xl")
    return config
