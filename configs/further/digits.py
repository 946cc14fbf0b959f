"""Handwritten digits by a mixed design: ConvNeXt blocks, then attention, trained on a CPU.

Source: scikit-learn's 8x8 digits, brought to 16x16 (shipped with it, no download); budget as in
`configs/digits.py`.
Command: python -m deepmad_jax.main --config configs/further/digits.py
Expected: 97.8 % of the 360 test images at seed 0, in about a minute and a half on 2 CPU cores
(2026-11-30).
"""

from deepmad_jax.config import default_config
from deepmad_jax.recipes import HYBRID_SPACE, set_fields


def get_config():
    """The config."""
    config = default_config()
    config.name = "further_digits"
    set_fields(config, HYBRID_SPACE)

    design = config.design
    design.blocks = ("convnext", "convnext", "attention")
    design.strides = (1, 2, 2)
    design.kernels = (3, 5)
    design.heads, design.head_width = (1, 2, 4), 16
    design.inner_ratio = (1.0, 4.0)
    design.patch, design.positions = 2, True
    design.stem_width, design.min_width, design.multiple_of = (8, 64), (4,), 4
    design.resolution = 16
    design.in_channels = 1
    design.classes = 10
    design.macs = 5e6
    design.params = 0.05e6

    config.data.source = "digits"
    config.data.train_augment = "shift"
    config.data.flip = 0.0

    train = config.train
    train.epochs, train.warmup_epochs, train.cooldown_epochs = 20, 2, 0
    train.batch_size, train.eval_batch_size = 64, 360
    train.optimizer = "adamw"
    train.learning_rate = 2e-3
    train.weight_decay = 0.05
    train.batch_norm_momentum = 0.1
    train.dtype = "float32"
    train.eval_every_epochs = train.checkpoint_every_epochs = 5
    return config
