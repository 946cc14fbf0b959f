"""The learning-rate range test: which rates make a network learn, and from which on it diverges.

The rate rises from step to step by one factor, from ``config.rates.low`` to ``high``, on fresh
weights and the batches that a training would begin with. The loss first stays, then falls, and at
last explodes; a peak is commonly taken at the rate where it falls steepest or below, never where it
is least.

Source: Smith 2017 (arXiv 1506.01186), section 3.3; the smoothing and the rule for stopping follow
fastai's.
"""

import contextlib
import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from deepmad_jax.config import Config
from deepmad_jax.errors import UserError
from deepmad_jax.tasks.prepared import Prepared
from deepmad_jax.tasks.task import Named, Task
from deepmad_jax.train import (
    Plan,
    check_batch_size,
    make_train_step,
    state_sharding,
    to_device,
)

SMOOTHING = 0.9
"""Share of the average so far in the smoothed loss."""

EXPLODED = 4.0
"""Times the least smoothed loss: the test ends there."""


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates, losses: of every step; the losses are those before it.
        smoothed: an average of the losses so far, with less weight on older ones.
        steepest: the rate at which the smoothed loss falls fastest for a factor of the rate.
        least: the one at which it is smallest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    least: float


def range_test(task: Task, config: Config, arch: Named) -> RangeTest:
    """Trains with a rising rate; nothing is saved.

    Raises:
        MissingData, InvalidConfig: as `tasks.run.train` does.
        UserError: the loss explodes before it has fallen.
    """
    settings = config.train
    run = Prepared.of(task, config, arch)
    plan = Plan.of(settings, run.data.num_train)
    check_batch_size(run.mesh, plan.batch_size, settings.accumulate_steps)
    rising = optax.exponential_decay(
        config.rates.low, config.rates.steps - 1, config.rates.high / config.rates.low
    )
    optimizer = _with_schedule(*task.optimizer(config, plan), rising)
    graphdef, state = run.initial_state(optimizer, fresh=True)
    step = make_train_step(
        task.loss_fn(graphdef, run.data, config),
        optimizer,
        rising,
        run.mesh,
        accumulate=settings.accumulate_steps,
        batch_norm_groups=settings.batch_norm_groups,
        seed=settings.seed,
        state_sharding=state_sharding(run.mesh, state),
        forms=run.data.forms,
    )
    rates: list[float] = []
    losses: list[float] = []
    with contextlib.closing(run.data.train_batches(config)) as batches:
        for _ in range(config.rates.steps):
            state, metrics = step(state, to_device(run.mesh, next(batches)))
            loss = float(metrics["loss"])
            if not math.isfinite(loss):
                break
            losses.append(loss)
            rates.append(float(metrics["learning_rate"]))
            smooth = smoothed(losses)
            if smooth[-1] > EXPLODED * min(smooth):
                break
    return read(rates, losses)


def read(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """What losses at rising rates say.

    Raises:
        UserError: they are too few, or never fall.
    """
    smooth = smoothed(losses)
    lowest = min(range(len(smooth)), key=smooth.__getitem__) if smooth else 0
    # Slopes between neighbours up to the least loss: beyond it nothing is learned.
    slopes = [
        (smooth[i + 1] - smooth[i]) / (math.log(rates[i + 1]) - math.log(rates[i]))
        for i in range(lowest)
    ]
    if not slopes or min(slopes) >= 0.0:
        raise UserError(
            f"In the range test the loss never falls ({len(losses)} finite losses): begin lower "
            "(--config.rates.low) or take more steps (--config.rates.steps)."
        )
    steepest = min(range(len(slopes)), key=slopes.__getitem__)
    return RangeTest(tuple(rates), tuple(losses), tuple(smooth), rates[steepest + 1], rates[lowest])


def smoothed(losses: Sequence[float]) -> list[float]:
    """An exponential average of the losses so far, as if they had been the first one for ever.

    >>> smoothed([2.0, 2.0, 1.0])
    [2.0, 2.0, 1.9]
    """
    found: list[float] = []
    for loss in losses:
        found.append(SMOOTHING * found[-1] + (1.0 - SMOOTHING) * loss if found else loss)
    return found


def _with_schedule(
    optimizer: optax.GradientTransformation, schedule: optax.Schedule, wanted: optax.Schedule
) -> optax.GradientTransformation:
    """The optimiser at the rates of ``wanted``: what any of them gives is in proportion to its."""

    def share(step: jax.Array) -> jax.Array:
        own = jnp.asarray(schedule(step), jnp.float32)
        return jnp.where(own > 0.0, wanted(step) / jnp.where(own > 0.0, own, 1.0), 0.0)

    return optax.chain(optimizer, optax.scale_by_schedule(share))
