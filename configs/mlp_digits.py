"""A perceptron to a budget: designed by the paper's section 3 and trained on digits.

Source: paper, section 3; scikit-learn's 8x8 digits (shipped with it, no download).
Command: python -m deepmad_jax.main --config configs/mlp_digits.py
Expected: five layers of 56, 16,978 params; 97.2 % of the 360 test images at seed 0, in about 10 s
on 2 CPU cores (2026-11-25). `benchmarks/mlp_digits.py` trains designs over a range of rho.
"""

from deepmad_jax.config import default_config


def get_config():
    """The config."""
    config = default_config()
    config.name = "mlp_digits"
    config.jobs = ("perceptron",)

    perceptron = config.perceptron
    perceptron.input_width, perceptron.classes = 64, 10
    perceptron.num_stages = 1
    perceptron.params = 20_000
    perceptron.rho = 0.1

    config.data.source = "digits"
    config.data.train_augment = "none"
    config.data.flip = 0.0

    train = config.train
    train.epochs, train.warmup_epochs, train.cooldown_epochs = 40, 2, 0
    train.batch_size, train.eval_batch_size = 64, 360
    train.learning_rate, train.weight_decay = 0.02, 5e-4
    train.label_smoothing = 0.0
    train.dtype = "float32"
    train.eval_every_epochs = train.checkpoint_every_epochs = 10
    return config
