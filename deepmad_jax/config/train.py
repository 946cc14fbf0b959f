"""How a network is trained: ``config.train``."""

import dataclasses
from typing import Annotated

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import (
    Count,
    FilePath,
    Natural,
    NotNegative,
    OneOf,
    Positive,
    Precision,
    Seed,
    Share,
    ShareBelowOne,
    SomeShare,
    settle,
)

OPTIMIZERS = ("sgd", "adamw", "lamb", "lion")
"""What ``config.train.optimizer`` may be."""

DISTILLATIONS = ("hard", "soft")
"""What ``config.train.distillation`` may be."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How the network is trained.

    Defaults are the paper's ImageNet recipe (Table 12); its augmentation is in `DataConfig`, off by
    default and set by `recipes`.

    Attributes:
        epochs: passes over the training images, the warm-up included; the cool-down comes after.
        batch_size: images per step over all devices and hosts.
        eval_batch_size: images per evaluation step over all devices and hosts.
        learning_rate: peak rate at this batch size; not rescaled.
        final_learning_rate: where the cosine ends, and the rate of the cool-down.
        warmup_epochs: of a linear start from ``warmup_learning_rate`` to the peak.
        warmup_learning_rate: the rate of the first step; unused without a warm-up.
        cooldown_epochs: added to ``epochs``, at the final rate.
        optimizer: ``sgd`` (with Nesterov momentum), ``adamw``, ``lamb`` or ``lion``; see
            `train.optim`.
        momentum: of SGD; of the others how slowly their mean of the gradients moves.
        second_momentum: how slowly their mean of the squares does, of Lion the mean itself.
        weight_decay: on kernels of conv and dense layers only.
        decay_positions: it also decays tables of positions, as PVT does.
        layer_decay: share of the rate that each block has of the next one's, the stem of the first
            block's; 1 gives all the same.
        sparsity: share of the kernels' weights that are kept at zero, see `train.sparsity`; 0 is
            ordinary training.
        sparsity_every: steps after which places of zeros move.
        sparsity_moved: greatest share of a kernel's weights that move at once.
        label_smoothing: share of the target spread evenly over the classes.
        pretrained: weights that a classifier begins with, of the same layers: a run's folder, a
            file of weights, or the address of one. They may be of images of another size; for
            other classes the classifier is fresh. None begins afresh.
        teacher: a run's folder or a file of weights, whose answers are learned besides the labels.
        teacher_architecture: of the weights, where nothing beside the file says it: a published
            network or a file, as ``config.architecture``.
        distillation: ``hard`` (the teacher's first choice) or ``soft`` (all of its answer).
        distillation_share: of the teacher's loss, in place of as much of the labels'.
        distillation_temperature: by which both answers are divided in the soft one.
        batch_norm_momentum: share of the new batch in the running statistics.
        batch_norm_groups: 1 takes BatchNorm's statistics over the whole batch of all devices; more
            splits the batch for it (see `train.gradients`).
        zero_init: start the last BatchNorm scale of every residual branch at 0. Keeps the first
            gradients of deep networks small; one whose last stage does not widen, so has no
            projection, learns slower by it (`benchmarks/digits_entropy.py`).
        drop_path: probability of the last block's branch to be skipped for an image (stochastic
            depth), linear from 0 at the first block.
        dropout: probability of each input of the classifier to be zeroed.
        ema_decay: of the averaged parameters used for evaluation; None keeps no average.
        overfit_batches: 0 trains on all images; k on the first k batches over and over, framed and
            augmented as they were at first, to see whether the network can learn them.
        accumulate_steps: pieces of a batch worked on one after the other, to save memory.
        clip_norm: greatest norm of a step's gradients; None does not clip.
        remat: keep only the maps between stages for the backward pass and compute the others again.
        fsdp: devices over which parameters and optimiser state are split; 1 keeps them whole on
            each.
        prefetch: batches that lie on the device before they are asked for.
        dtype: ``float32`` or ``bfloat16`` compute; params and statistics stay float32.
        scan: run the repeated blocks of a stage as one scanned block; None is the default of the
            device at hand (see `nets.stage`).
        log_every_steps, eval_every_epochs, checkpoint_every_epochs: rhythm.
        keep_checkpoints: how many of the latest checkpoints stay; the best one stays besides.
        wandb_project: also logs to this project of Weights & Biases, if that is installed.
        seed: of initialisation, shuffling, augmentation and dropout.
    """

    epochs: Positive = 480.0
    batch_size: Count = 2048
    eval_batch_size: Count = 2048
    learning_rate: NotNegative = 0.8
    final_learning_rate: NotNegative = 1e-5
    warmup_epochs: NotNegative = 20.0
    warmup_learning_rate: NotNegative = 1e-5
    cooldown_epochs: NotNegative = 10.0
    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = "sgd"
    momentum: ShareBelowOne = 0.9
    second_momentum: ShareBelowOne = 0.999
    weight_decay: NotNegative = 5e-5
    decay_positions: bool = False
    layer_decay: SomeShare = 1.0
    sparsity: ShareBelowOne = 0.0
    sparsity_every: Count = 2000
    sparsity_moved: Share = 0.5
    label_smoothing: ShareBelowOne = 0.1
    pretrained: FilePath | None = None
    teacher: FilePath | None = None
    teacher_architecture: FilePath | None = None
    distillation: Annotated[str, OneOf(DISTILLATIONS)] = "hard"
    distillation_share: Share = 0.5
    distillation_temperature: Positive = 3.0
    batch_norm_momentum: SomeShare = 0.01
    batch_norm_groups: Count = 1
    zero_init: bool = True
    drop_path: ShareBelowOne = 0.0
    dropout: ShareBelowOne = 0.0
    ema_decay: ShareBelowOne | None = None
    overfit_batches: Natural = 0
    accumulate_steps: Count = 1
    clip_norm: Positive | None = None
    remat: bool = False
    fsdp: Count = 1
    prefetch: Count = 2
    dtype: Precision = "bfloat16"
    scan: bool | None = None
    log_every_steps: Count = 50
    eval_every_epochs: Positive = 1.0
    checkpoint_every_epochs: Positive = 1.0
    keep_checkpoints: Count = 3
    wandb_project: str | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        settle(self)
        if self.batch_size % (self.accumulate_steps * self.batch_norm_groups):
            raise InvalidConfig(
                f"batch_size is {self.batch_size}, which accumulate_steps={self.accumulate_steps} "
                f"pieces of batch_norm_groups={self.batch_norm_groups} groups do not divide: "
                "change one."
            )
        if self.final_learning_rate > self.learning_rate:
            raise InvalidConfig(
                f"final_learning_rate is {self.final_learning_rate}, but must not be above "
                f"learning_rate={self.learning_rate}: lower the first or raise the second."
            )
        if self.warmup_epochs >= self.epochs:
            raise InvalidConfig(
                f"warmup_epochs={self.warmup_epochs:g} leaves nothing of epochs={self.epochs:g}: "
                "raise epochs, or set the warm-up to 0 (--config.train.warmup_epochs=0; the "
                "cool-down, config.train.cooldown_epochs, comes after the epochs)."
            )
