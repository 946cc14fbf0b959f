"""The loop: step, log, evaluate, save, in this order.

Evaluation comes before the save of the same step, so a checkpoint is never without its lines. It
does not decide anything: the plan says when, the step how, the logbook where to.
"""

import contextlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
from jax.sharding import Mesh

from deepmad_jax.errors import UserError
from deepmad_jax.train.checkpoint import Checkpoints
from deepmad_jax.train.logbook import Logbook
from deepmad_jax.train.mesh import to_device
from deepmad_jax.train.plan import Plan
from deepmad_jax.train.state import TrainState
from deepmad_jax.train.step import Metrics, TrainStep

STEPS_IN_FLIGHT = 2
"""Steps handed to the device before the loop waits: enough to hide the host, and few batches."""

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a run that SIGTERM stopped, by the shell's custom."""


class Diverged(UserError, ArithmeticError):
    """The loss or the gradients are no longer finite."""


def fit(
    state: TrainState,
    batches: grain.DatasetIterator,
    *,
    train_step: TrainStep,
    evaluate: Callable[[TrainState], dict[str, float]],
    plan: Plan,
    mesh: Mesh,
    checkpoints: Checkpoints,
    logbook: Logbook,
) -> TrainState:
    """The state after ``plan.total_steps``, going on from the step that ``state`` is at.

    Args:
        state: donated.
        batches: endless, at the place that belongs to the state.
        train_step: of `make_train_step`.
        evaluate: gives the numbers of an evaluation line.
        plan, mesh, checkpoints, logbook: see there.

    Raises:
        Diverged: a loss or gradient that is not finite; the last checkpoint is from before it.
        SystemExit: SIGTERM came; the state is saved.
    """
    first = int(jax.device_get(state.step)) + 1
    window = _Window(plan)
    with _terminate_softly() as terminated:
        for step in range(first, plan.total_steps + 1):
            state, metrics = train_step(state, to_device(mesh, next(batches)))
            window.add(step, metrics)
            logbook.advance(step)
            if step == first:
                logbook.say(f"first step done after {window.wait():.1f} s, compilation included")
            stopping = terminated.is_set()
            if plan.logs_at(step) or stopping:
                logbook.write(window.close(step))
            if plan.evaluates_at(step):
                logbook.write({"split": "eval", "step": step, **evaluate(state)})
            if plan.saves_at(step) or stopping:
                checkpoints.save(state, batches, step)
            if stopping:
                logbook.say(f"SIGTERM: saving step {step}; the same command goes on from there.")
                raise SystemExit(TERMINATED)
            if plan.evaluates_at(step) or plan.saves_at(step):
                window.restart_clock()
    return state


class _Window:
    """The metrics since the last log line, fetched a few steps after they were asked for."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._pending: deque[tuple[int, Metrics]] = deque()
        self._fetched: list[dict[str, float]] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        self._began, self._timed_steps = time.monotonic(), 0

    def add(self, step: int, metrics: Metrics) -> None:
        self._pending.append((step, metrics))
        self._timed_steps += 1
        while len(self._pending) > STEPS_IN_FLIGHT:
            self._fetch()

    def wait(self) -> float:
        """Seconds since the clock started until every step so far is done; restarts the clock."""
        while self._pending:
            self._fetch()
        seconds = time.monotonic() - self._began
        self.restart_clock()
        return seconds

    def close(self, step: int) -> dict[str, Any]:
        """The log line of the steps since the last one: means, but the rate of the last step."""
        while self._pending:
            self._fetch()
        seconds = time.monotonic() - self._began
        names = self._fetched[0].keys()
        means = {n: sum(m[n] for m in self._fetched) / len(self._fetched) for n in names}
        line = {"split": "train", "step": step, "epoch": step / self._plan.steps_per_epoch}
        line |= means | {"learning_rate": self._fetched[-1]["learning_rate"]}
        if self._timed_steps:
            line["images_per_second"] = self._timed_steps * self._plan.batch_size / seconds
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


@contextlib.contextmanager
def _terminate_softly() -> Iterator[threading.Event]:
    """An event that SIGTERM sets while inside; the signal then does nothing else."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
