"""Two ConvNeXt stages, two of attention, as fast on your device as Swin-T: beyond the paper.

Source: the budget of the paper's Table 9 beside Swin-T (params, MACs, and 767 images a second on a
V100 in float32), the blocks of `hybrid_s.py`. The program and its latency limit are ours.
Command: deepmad measure further/hybrid_gpu, then python -m deepmad_jax.main --config
configs/further/hybrid_gpu.py, which goes on where the table ends. The limit is the V100's: on
another device take what the first command prints for Swin-T, --config.design.throughput=N.
Variants: ``configs/further/hybrid_gpu.py:cpu`` does all but the training on one core, at 64 pixels,
with a limit of three quarters of what the design without one takes. 2026-11-30, four minutes
of a busy core: predicted 2.30 ms an image, measured 2.08 (docs/latency.md).
Expected: nobody has trained it. On a GPU: not yet run.
"""

from deepmad_jax.compared_recipes import FAMILY_RECIPES
from deepmad_jax.config import default_config
from deepmad_jax.recipes import (
    AS_FAST_AS_SWIN_T,
    HYBRID_SPACE,
    MEASURED_ON_CPU,
    set_fields,
    take_variant,
)

SMALL = {
    "design.patch": 2,
    "design.heads": (1, 2, 3, 4, 6),
    "design.head_width": 32,
    "design.inner_ratio": (4.0,),
    "design.stem_width": (16, 32),
    "design.latency": 2.31,
}
VARIANTS = {"cpu": {**MEASURED_ON_CPU, **SMALL}}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "hybrid_gpu"
    config.jobs = ("measure", "design", "certify", "verify", "train", "evaluate")
    set_fields(config, HYBRID_SPACE, AS_FAST_AS_SWIN_T, FAMILY_RECIPES["swin"])

    take_variant(config, variant, VARIANTS)
    config.design.latency_table = f"runs/{config.name}/latency.csv"
    return config
