"""Any published network: its table, its training under the paper's recipe, others beside it.

Source: `deepmad_jax.zoo`, where each network has its own; recipe: the paper's Table 12 (mixup,
cutmix, random erasing and RandAugment are still missing).
Commands: python -m deepmad_jax.main --config configs/zoo.py --config.name=resnet50
          python -m deepmad_jax.main --config configs/zoo.py --config.name=resnet50 \
              --config.jobs=describe
          python -m deepmad_jax.main --config configs/zoo.py --config.jobs=compare \
              --config.names=resnet50,deepmad_r50,runs/r50/architecture.json
Variants: ``configs/zoo.py:cifar100`` trains the 32-pixel networks (--config.name=resnet20) on
CIFAR-100 with that column of Table 12.
Expected: describe and compare print the published top-1. Training here: not yet run.
"""

from deepmad_jax.config import default_config


def get_config(variant: str = ""):
    """The config; ``variant`` is empty or ``cifar100``."""
    config = default_config()
    config.name = "resnet50" if not variant else "resnet20"
    config.jobs = ("train", "evaluate")
    # One way: --config.architecture=... leaves the name, and so the workdir, alone.
    config.architecture = config.get_oneway_ref("name")

    config.data.source = "tfds"
    config.data.name = "imagenet2012"

    if variant == "cifar100":
        config.architecture = config.get_oneway_ref("name") + ":classes=100"
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
    elif variant:
        raise ValueError(f"configs/zoo.py has no variant {variant!r}; known: cifar100")
    return config
