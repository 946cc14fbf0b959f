"""Table 12, the settings of the paper's trainings: of ImageNet and of CIFAR-100, as printed."""

PRINTED: tuple[tuple[str, str, object, object], ...] = (
    ("epochs, without cool-down", "train.epochs", 480.0, 1440.0),
    ("warm-up epochs", "train.warmup_epochs", 20.0, 5.0),
    ("cool-down epochs", "train.cooldown_epochs", 10.0, 0.0),
    ("batch", "train.batch_size", 2048, 512),
    ("learning rate", "train.learning_rate", 0.8, 0.2),
    ("optimiser", "train.optimizer", "sgd", "sgd"),
    ("momentum", "train.momentum", 0.9, 0.9),
    ("weight decay", "train.weight_decay", 5e-5, 5e-4),
    ("BatchNorm momentum", "train.batch_norm_momentum", 0.01, 0.01),
    ("label smoothing", "train.label_smoothing", 0.1, 0.1),
    ("mixup", "data.mixup", 0.8, 0.2),
    ("cutmix", "data.cutmix", 1.0, 0.0),
    ("switch probability", "data.switch_probability", 0.5, 0.5),
    ("crop at evaluation", "data.eval_crop", 0.95, 0.875),
    ("random erasing", "data.random_erasing", 0.2, 0.5),
    ("augmentation", "data.auto_augment", "rand-m9-mstd0.5", "cifar"),
    ("precision", "train.dtype", "bfloat16", "float32"),
)
"""Words, our field, ImageNet, CIFAR-100. AutoAugment is ``cifar`` here; the paper's mixed precision
(float16) is bfloat16 here."""

CONFIGS = ("r18", "r20_cifar")
"""Our configs whose settings stand beside the two columns."""
