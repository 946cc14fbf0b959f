"""When things happen, in steps: the one place where epochs become steps.

Batches run across the ends of epochs (`deepmad_jax.data.stream`), so an epoch is a real number of
steps, images / batch size, and every moment is rounded to the nearest step: "every 2 epochs" is the
steps nearest to 2, 4, 6 epochs, not a period of rounded length that drifts away from them.
"""

import dataclasses
import math

from deepmad_jax.config import TrainConfig
from deepmad_jax.errors import InvalidConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run in steps.

    Attributes:
        batch_size: images per step, over all devices and processes.
        steps_per_epoch: real.
        total_steps: at least 1.
        warmup_steps, cooldown_steps: at the two ends of them.
        log_every: steps between log lines.
        eval_every, checkpoint_every: real steps between; the last step does both.

    >>> plan = Plan.of(TrainConfig(epochs=30, batch_size=128, cooldown_epochs=0), num_images=1437)
    >>> plan.total_steps, plan.warmup_steps
    (337, 225)
    >>> [step for step in range(1, 40) if plan.saves_at(step)]
    [11, 22, 34]
    """

    batch_size: int
    steps_per_epoch: float
    total_steps: int
    warmup_steps: int
    cooldown_steps: int
    log_every: int
    eval_every: float
    checkpoint_every: float

    @classmethod
    def of(cls, config: TrainConfig, num_images: int) -> "Plan":
        """The plan for ``num_images`` training images; raises `InvalidConfig`."""
        _check(config)
        steps_per_epoch = num_images / config.batch_size

        def steps(epochs: float, least: int) -> int:
            return max(least, round(epochs * steps_per_epoch))

        return cls(
            batch_size=config.batch_size,
            steps_per_epoch=steps_per_epoch,
            total_steps=steps(config.epochs, 1),
            warmup_steps=steps(config.warmup_epochs, 0),
            cooldown_steps=steps(config.cooldown_epochs, 0),
            log_every=config.log_every_steps,
            eval_every=config.eval_every_epochs * steps_per_epoch,
            checkpoint_every=config.checkpoint_every_epochs * steps_per_epoch,
        )

    def evaluates_at(self, step: int) -> bool:
        return _is_multiple(step, self.eval_every) or step == self.total_steps

    def saves_at(self, step: int) -> bool:
        return _is_multiple(step, self.checkpoint_every) or step == self.total_steps

    def logs_at(self, step: int) -> bool:
        # Every checkpoint closes a line's window, so that a run resumed from it writes the same
        # lines as one that was never stopped.
        return step % self.log_every == 0 or self.saves_at(step)


def _is_multiple(step: int, period: float) -> bool:
    """Whether ``step`` is the nearest one to a positive multiple of ``period``."""
    return round(max(1, round(step / period)) * period) == step or period < 1


def _check(config: TrainConfig) -> None:
    for field in (
        "epochs",
        "batch_size",
        "eval_batch_size",
        "log_every_steps",
        "eval_every_epochs",
        "checkpoint_every_epochs",
        "keep_checkpoints",
        "accumulate_steps",
        "batch_norm_groups",
        "fsdp",
        "prefetch",
    ):
        if not 0 < getattr(config, field) < math.inf:
            raise InvalidConfig(
                f"config.train.{field} is {getattr(config, field)}, but must be more than 0, and "
                "finite."
            )
    shares = ("momentum", "label_smoothing", "batch_norm_momentum", "ema_decay")
    for field in (*shares, "drop_path", "dropout"):
        value = getattr(config, field)
        if (
            value is not None
            and not 0 <= value < 1
            and (field, value) != ("batch_norm_momentum", 1)
        ):
            raise InvalidConfig(
                f"config.train.{field} is {value}, but must be at least 0 and less than 1."
            )
    if config.clip_norm is not None and not config.clip_norm > 0:
        raise InvalidConfig(
            f"config.train.clip_norm is {config.clip_norm}, but must be more than 0, or None for "
            "no clipping."
        )
    if config.batch_size % (config.accumulate_steps * config.batch_norm_groups):
        raise InvalidConfig(
            f"config.train.batch_size is {config.batch_size}, which "
            f"accumulate_steps={config.accumulate_steps} pieces of "
            f"batch_norm_groups={config.batch_norm_groups} groups do not divide: change one."
        )
    ends = config.warmup_epochs + config.cooldown_epochs
    if not (min(config.warmup_epochs, config.cooldown_epochs) >= 0 and ends < config.epochs):
        raise InvalidConfig(
            f"config.train has warmup_epochs={config.warmup_epochs:g} and "
            f"cooldown_epochs={config.cooldown_epochs:g}, which leave nothing of "
            f"epochs={config.epochs:g}: raise epochs, or set "
            "--config.train.warmup_epochs=0 --config.train.cooldown_epochs=0"
        )
