"""When things happen, in steps: the one place where epochs become steps.

Batches run across the ends of epochs (`deepmad_jax.data.stream`), so an epoch is a real number of
steps, images / batch size, and every moment is rounded to the nearest step: "every 2 epochs" is the
steps nearest to 2, 4, 6 epochs, not a period of rounded length that drifts away from them.
"""

import dataclasses

from deepmad_jax.config import TrainConfig


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
        """The plan for ``num_images`` training images."""
        steps_per_epoch = num_images / config.batch_size

        def steps(epochs: float, least: int) -> int:
            return max(least, round(epochs * steps_per_epoch))

        return cls(
            batch_size=config.batch_size,
            steps_per_epoch=steps_per_epoch,
            total_steps=steps(config.epochs, 1) + steps(config.cooldown_epochs, 0),
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
