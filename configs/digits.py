"""Handwritten digits: design, training and evaluation in a minute on a CPU.

Source: scikit-learn's 8x8 digits, brought to 16x16 (shipped with it, no download).
Command: python -m deepmad_jax.main --config configs/digits.py
Expected: 98.9 % of the 360 test images at seed 0, in about a minute on 2 CPU cores (2026-11-30).
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import CIFAR_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "digits"
    set_fields(config, CIFAR_SPACE)

    design = config.design
    design.stem_width = (4, 32)
    design.resolution = 16
    design.in_channels = 1
    design.classes = 10
    design.macs = 5e6
    design.params = 0.05e6
    design.rho = 0.2

    config.data.source = "digits"
    config.data.train_augment = "shift"
    config.data.flip = 0.0

    train = config.train
    train.epochs, train.warmup_epochs, train.cooldown_epochs = 20, 2, 0
    train.batch_size, train.eval_batch_size = 64, 360
    train.learning_rate = 0.1
    train.weight_decay = 5e-4
    train.batch_norm_momentum = 0.1
    train.dtype = "float32"
    train.eval_every_epochs = train.checkpoint_every_epochs = 5
    return config
