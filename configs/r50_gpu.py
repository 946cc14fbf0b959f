"""DeepMAD-R50-GPU: the network of greatest entropy that is as fast as ResNet-50 on your device.

Source: the paper's Table 9 (params, MACs, and 1171 images a second on a V100 in float32 at the
largest batch, ResNet-50 having 1245) and Table 12 (recipe). The paper found its network by trial;
here the rows of the space are timed, the latency is a limit of the program, and the network that
comes out is timed against it.
Command: deepmad measure r50_gpu, then python -m deepmad_jax.main --config configs/r50_gpu.py, which
goes on where the table ends. The limit is the V100's: on another device take what the
first command prints for ResNet-50, --config.design.throughput=N.
Variants: ``configs/r50_gpu.py:cpu`` does all but the training on one core, at 64 pixels, with a
limit of three quarters of what the design without one takes. 2026-11-30, four minutes
of a busy core: predicted 3.56 ms an image, measured 3.50 (docs/latency.md).
Expected (paper, top-1): 80.0 %. On a GPU: not yet run.
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import (
    BOTTLENECK_SPACE,
    IMAGENET_RECIPE,
    MEASURED_ON_CPU,
    set_fields,
    take_variant,
)

VARIANTS = {"cpu": {**MEASURED_ON_CPU, "design.latency": 3.74}}


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or one of `VARIANTS`."""
    config = default_config()
    config.name = "r50_gpu"
    config.jobs = ("measure", "design", "certify", "verify", "train", "evaluate")
    set_fields(config, BOTTLENECK_SPACE, IMAGENET_RECIPE)

    design = config.design
    design.resolution = 224
    design.macs = 3.0e9
    design.params = 19e6
    design.throughput = 1171
    config.measure.batch = 128
    config.measure.references = ("resnet50",)

    take_variant(config, variant, VARIANTS)
    design.latency_table = f"runs/{config.name}/latency.csv"
    return config
