"""DeepMAD-R18: the network of greatest entropy within ResNet-18's parameters and MACs.

Source: the paper's Table 1 (rho 0.3) and Table 12 (recipe; mixup, cutmix, random
erasing and RandAugment are still missing).
Command: python -m deepmad_jax.main --config configs/r18.py
Variants: ``configs/r18.py:quick`` trains a few steps on generated 64-pixel images, to see the road.
Expected: the paper reports 77.7 % top-1 for its own DeepMAD-R18. Training here: not yet run.
"""

from deepmad_jax.config import default_config


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or ``quick``."""
    config = default_config()
    config.name = "r18"

    design = config.design
    design.block = "bottleneck"
    design.strides = (2, 2, 2, 1, 2)
    design.kernels = (3, 5)
    design.inner_ratio = (0.1, 1.0)
    design.stem_width = (8, 64)
    design.resolution = 224
    design.macs = 1.82e9
    design.params = 11.69e6
    design.rho = 0.3

    config.data.source = "tfds"
    config.data.name = "imagenet2012"

    if variant == "quick":
        config.name = "r18_quick"
        config.data.source = "fake"
        config.data.fake_images = 64
        design.resolution = 64
        design.macs = 1.82e9 / 12.25  # (224 / 64)^2: the same widths at fewer pixels
        config.train.batch_size = config.train.eval_batch_size = 16
        config.train.learning_rate = 0.02
        config.train.epochs, config.train.warmup_epochs, config.train.cooldown_epochs = 2, 0, 0
        config.train.log_every_steps = 1
        config.train.dtype = "float32"
        config.train.batch_norm_momentum = 0.1  # 0.01 would barely move in so few steps
    elif variant:
        raise ValueError(f"configs/r18.py has no variant {variant!r}; known: quick")
    return config
