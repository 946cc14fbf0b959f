"""The metrics since the last log line: their means, the rate, and when they stop being finite."""

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax

from deepmad_jax.errors import UserError
from deepmad_jax.train.gradients import Metrics
from deepmad_jax.train.plan import Plan
from deepmad_jax.train.speed import Speed

STEPS_IN_FLIGHT = 2
"""Steps handed to the device before the loop waits: enough to hide the host, and few batches."""

TIMED = ("images_per_second", "images_per_second_per_device", "mfu", "input_wait_share")
"""Of a log line, what is measured by the clock and so differs from run to run."""


class Diverged(UserError, ArithmeticError):
    """The loss or the gradients are no longer finite."""


class Window:
    """Metrics, fetched a few steps after they were asked for.

    Args:
        plan: for epochs and batch size.
        speed: for the rate.
        fetched: of the steps that a checkpoint found since the last line, as `values` gave them.
    """

    def __init__(self, plan: Plan, speed: Speed, fetched: Sequence[dict[str, float]] = ()):
        self._plan, self._speed = plan, speed
        self._pending: deque[tuple[int, Metrics]] = deque()
        self._fetched = list(fetched)
        self.restart_clock()

    def restart_clock(self) -> None:
        """Starts a new measurement of the rate."""
        self._began, self._timed_steps, self._waited_seconds = time.monotonic(), 0, 0.0

    def add(self, step: int, metrics: Metrics, waited_seconds: float) -> None:
        """Takes in the metrics of a step that waited so long for its batch.

        Raises:
            Diverged: an earlier step's loss or gradient is not finite.
        """
        self._pending.append((step, metrics))
        self._timed_steps += 1
        self._waited_seconds += waited_seconds
        while len(self._pending) > STEPS_IN_FLIGHT:
            self._fetch()

    def wait(self) -> float:
        """Seconds since the clock started until every step so far is done; restarts the clock."""
        self.values()
        seconds = time.monotonic() - self._began
        self.restart_clock()
        return seconds

    def values(self) -> list[dict[str, float]]:
        """The metrics of every step since the last line; waits for them."""
        while self._pending:
            self._fetch()
        return list(self._fetched)

    def close(self, step: int) -> dict[str, Any]:
        """The log line of the steps since the last one: means, but the rate of the last step."""
        values = self.values()
        seconds = time.monotonic() - self._began
        means = {name: sum(m[name] for m in values) / len(values) for name in values[0]}
        line = {"split": "train", "step": step, "epoch": step / self._plan.steps_per_epoch}
        line |= means | {"learning_rate": values[-1]["learning_rate"]}
        if self._timed_steps:
            line |= self._speed.line(self._timed_steps * self._plan.batch_size / seconds)
            line["input_wait_share"] = self._waited_seconds / seconds
        self._fetched.clear()
        self.restart_clock()
        return line

    def _fetch(self) -> None:
        step, metrics = self._pending.popleft()
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not (math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])):
            epoch = step / self._plan.steps_per_epoch
            raise Diverged(
                f"Training diverged at step {step} (epoch {epoch:.2f}), at a learning rate of "
                f"{values['learning_rate']:g}: the loss is {values['loss']}, the norm of the "
                f"gradients {values['gradient_norm']}. The checkpoints are from before it. Lower "
                "--config.train.learning_rate or lengthen --config.train.warmup_epochs, and start "
                "again in a new workdir."
            )
        self._fetched.append(values)
