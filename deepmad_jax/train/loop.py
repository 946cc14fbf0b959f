"""The loop: step, log, evaluate, save, in this order.

Evaluation comes before the save of the same step, so a checkpoint is never without its lines. It
does not decide anything: the plan says when, the step how, the logbook where to.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grain
import jax
from jax.sharding import Mesh

from deepmad_jax.freed_memory import give_freed_memory_back
from deepmad_jax.train.checkpoint import Checkpoints
from deepmad_jax.train.logbook import Logbook
from deepmad_jax.train.look import Look
from deepmad_jax.train.plan import Plan
from deepmad_jax.train.preemption import TERMINATED, EvaluationGivenUp, Sigterm
from deepmad_jax.train.prefetch import Prefetch
from deepmad_jax.train.profile import Trace
from deepmad_jax.train.speed import Speed
from deepmad_jax.train.state import TrainState
from deepmad_jax.train.step import TrainStep
from deepmad_jax.train.window import Window
from deepmad_jax.unstacked import stacked


def fit(
    state: TrainState,
    batches: grain.DatasetIterator,
    *,
    train_step: TrainStep,
    evaluate: Callable[[TrainState], dict[str, Any]],
    plan: Plan,
    mesh: Mesh,
    checkpoints: Checkpoints,
    logbook: Logbook,
    progress: Mapping[str, Any] | None = None,
    best_by: str = "top1",
    prefetch: int = 2,
    speed: Speed | None = None,
    look: Look | None = None,
    profile_dir: Path | None = None,
) -> TrainState:
    """The state after ``plan.total_steps``, going on from the step that ``state`` is at.

    Args:
        state: donated; its stacked arrays may be `Unstacked`, they are saved stacked.
        batches: endless, at the place that belongs to the state.
        train_step: of `make_train_step`.
        evaluate: gives the numbers of an evaluation line.
        plan, mesh, checkpoints, logbook: see there.
        progress: of the checkpoint that the state comes from.
        best_by: the number of an evaluation that says which is best; larger is better.
        prefetch: batches on the device in waiting.
        speed: what the log's rates are of; None knows of the mesh's devices alone.
        look: what is shown besides, or None.
        profile_dir: where a trace of a few steps goes, or None.

    Raises:
        Diverged: a loss or gradient that is not finite; the last checkpoint is from before it.
        CheckpointFailed: the disk is full, or the like.
        SystemExit: SIGTERM came; the state is saved.
    """
    progress = dict(progress or {})
    first = int(jax.device_get(state.step)) + 1
    best = _Best(progress.get("best"), best_by)
    with (
        Sigterm() as sigterm,
        Prefetch(batches, mesh, prefetch) as ahead,
        Trace(profile_dir) as trace,
    ):
        window = Window(plan, speed or Speed(mesh.size), progress.get("window", ()))
        if progress.get("unevaluated"):
            try:
                line = {"split": "eval", "step": first - 1, **evaluate(state)}
            except EvaluationGivenUp:  # of several processes; nothing is new since the checkpoint
                raise SystemExit(TERMINATED) from None
            best.after(first - 1, line)
            if plan.saves_at(first - 1):
                best.saved_at(first - 1)
            if not logbook.holds("eval", first - 1):
                logbook.write(line | best.summary())
            window.restart_clock()
        has_evaluated = False
        for step in range(first, plan.total_steps + 1):
            trace.before_step()
            waited = ahead.waited_seconds
            batch = next(ahead)
            if look is not None and look.before_step(step, step == first, state, batch, logbook):
                window.restart_clock()
            state, metrics = train_step(state, batch)
            window.add(step, metrics, ahead.waited_seconds - waited)
            logbook.advance(step)
            if step == first:
                sigterm.begin()
                logbook.say(f"first step done after {window.wait():.1f} s, compilation included")
                give_freed_memory_back()
            if trace.after_step(metrics):
                logbook.say(f"The trace of a few steps lies in {profile_dir}.")
            if plan.logs_at(step):
                logbook.write(window.close(step))
            unevaluated = plan.evaluates_at(step)
            if unevaluated:
                with contextlib.suppress(EvaluationGivenUp):
                    line = {"split": "eval", "step": step, **evaluate(state)}
                    best.after(step, line)
                    logbook.write(line | best.summary())
                    unevaluated = False
                    if not has_evaluated:
                        give_freed_memory_back()
                    has_evaluated = True
            stopping = unevaluated or sigterm.came()
            if plan.saves_at(step) or stopping:
                # With the metrics since the last line, so that a resumed run writes the line that
                # an uninterrupted one would have written.
                now = {"best": best.values, "window": window.values(), "unevaluated": unevaluated}
                checkpoints.save(stacked(state), ahead, step, now, best.saved_at(step))
            checkpoints.check()
            if stopping:
                logbook.say(f"SIGTERM: saving step {step}; the same command goes on from there.")
                raise SystemExit(TERMINATED)
            if plan.evaluates_at(step) or plan.saves_at(step):
                window.restart_clock()
    return state


class _Best:
    """The best evaluation so far, as plain values for a checkpoint.

    Args:
        values: of the run so far: ``value`` and ``step`` of the best, ``saved`` and ``saved_step``
            of the best that has a checkpoint; None where there is none.
        by: the number that is compared.
    """

    def __init__(self, values: dict[str, Any] | None, by: str):
        self.values = values or {"value": -math.inf, "step": 0, "saved": -math.inf, "saved_step": 0}
        self._by = by
        self._here = (0, -math.inf)

    def after(self, step: int, line: Mapping[str, Any]) -> None:
        """Takes in an evaluation."""
        value = float(line[self._by])
        self._here = step, value
        # A later evaluation that is as good counts: it has seen more.
        if value >= self.values["value"]:
            self.values |= {"value": value, "step": step}

    def summary(self) -> dict[str, Any]:
        """What to add to the line of an evaluation."""
        return {f"best_{self._by}": self.values["value"], "best_step": self.values["step"]}

    def saved_at(self, step: int) -> int:
        """Takes in that ``step`` is saved; the step of the best checkpoint."""
        evaluated_at, value = self._here
        if evaluated_at == step and value >= self.values["saved"]:
            self.values |= {"saved": value, "saved_step": step}
        return int(self.values["saved_step"])
