"""A CIFAR-100 network within ResNet-20's parameters and MACs.

Source: the paper's section 5.3 (space) and Table 12 (recipe, CIFAR-100 column).
Command: python -m deepmad_jax.main --config configs/r20_cifar.py
Expected: not yet run. The augmentation is random shift for now, not the paper's AutoAugment.
"""

from deepmad_jax.config import default_config


def get_config():
    """The config."""
    config = default_config()
    config.name = "r20_cifar"

    design = config.design
    design.block = "basic"
    design.strides = (1, 2, 2)
    design.kernels = (3,)
    design.inner_ratio = (0.25, 1.0)
    design.stem_width = (4, 64)
    design.stem_stride = 1
    design.multiple_of = 4
    design.min_width = (4,)
    design.resolution = 32
    design.classes = 100
    design.macs = 41e6
    design.params = 0.28e6
    design.rho = 0.5

    config.data.source = "tfds"
    config.data.name = "cifar100"
    config.data.eval_split = "test"
    config.data.train_augment = "shift"
    config.data.eval_crop = 0.875

    train = config.train
    train.epochs, train.warmup_epochs, train.cooldown_epochs = 1440, 5, 0
    train.batch_size = train.eval_batch_size = 512
    train.learning_rate = 0.2
    train.weight_decay = 5e-4
    train.dtype = "float32"
    return config
