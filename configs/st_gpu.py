"""DeepMAD-ST-GPU: the network of greatest entropy that is as fast as Swin-T on your device.

Source: the paper's Table 9 (params, MACs, and 767 images a second on a V100 in float32 at the
largest batch, Swin-T having 750) and Table 12 (recipe). The paper does not say which blocks it has;
here it has those of DeepMAD-R50-GPU, beside which it stands. How it is designed: r50_gpu.py.
Command: deepmad measure st_gpu, then python -m deepmad_jax.main --config configs/st_gpu.py, which
goes on where the table ends. The limit is the V100's: on another device take what the
first command prints for Swin-T, --config.design.throughput=N.
Variants: ``configs/st_gpu.py:cpu`` does all but the training on a CPU, at 64 pixels.
2026-11-30, five minutes of a busy core: predicted 7.8 ms an image, measured 4.2 (docs/latency.md).
Expected (paper, top-1): 81.7 %. On a GPU: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import (
    AS_FAST_AS_SWIN_T,
    BOTTLENECK_SPACE,
    IMAGENET_RECIPE,
    MEASURED_ON_CPU,
    set_fields,
    take_variant,
)

VARIANTS = {
    "cpu": {
        **MEASURED_ON_CPU,
        "design.macs": 1.2e8,
        "design.params": 2.4e6,
        "design.latency": 8.0,
    }
}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "st_gpu"
    config.jobs = ("measure", "design", "certify", "verify", "train", "evaluate")
    set_fields(config, BOTTLENECK_SPACE, AS_FAST_AS_SWIN_T, IMAGENET_RECIPE)

    take_variant(config, variant, VARIANTS)
    config.design.latency_table = f"runs/{config.name}/latency.csv"
    return config
