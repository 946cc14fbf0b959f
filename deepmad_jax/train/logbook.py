"""What a run says: ``metrics.jsonl``, TensorBoard, Weights & Biases, and a bar or lines on screen.

Only the first process writes. Every line is flushed as it is written, so that a run that is killed
has its lines; a run that goes on from a checkpoint first drops the lines beyond it.
"""

import contextlib
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image, scalar
from tqdm import tqdm

from deepmad_jax.errors import UserError
from deepmad_jax.paths import local

FILE_NAME = "metrics.jsonl"


class Logbook:
    """The logbook of one run. Use as a context manager.

    Args:
        workdir: holds ``metrics.jsonl`` and ``tensorboard/``.
        resumed_step: the step the run goes on from; lines of later steps are dropped.
        total_steps: for the bar and the time left.
        wandb_project: the project of Weights & Biases that gets the lines too; None: none does.
        name: of the run there.

    Raises:
        UserError: Weights & Biases is asked for and not installed, or the disk is full.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        resumed_step: int,
        total_steps: int,
        wandb_project: str | None = None,
        name: str | None = None,
    ):
        self._first_process = jax.process_index() == 0
        self._bar = None
        if not self._first_process:
            return
        path = local(workdir) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        self._wandb = _open_wandb(wandb_project, name, path.parent)
        try:
            lines = _read(path)
            kept = [line for line in lines if line["step"] <= resumed_step]
            self._kept = {(line["split"], line["step"]) for line in kept}
            _rewrite(path, kept)
            self._file = path.open("a")
            self._events = _Events(path.parent / "tensorboard", resumed_step + 1)
        except OSError as error:
            raise UserError(
                f"The log cannot be written to {path} or beside it: {error}. The checkpoints are "
                "intact. Make room on the disk, and give the same command to go on."
            ) from error
        self._total, self._began, self._began_step = total_steps, time.monotonic(), resumed_step
        if sys.stderr.isatty():
            self._bar = tqdm(total=total_steps, initial=resumed_step, unit="step", leave=False)
        ahead = max((line["step"] for line in lines), default=0)
        if ahead > resumed_step:
            self.say(
                f"{FILE_NAME} went up to step {ahead}, the checkpoint to {resumed_step}: the lines "
                "in between are dropped here and come again."
            )

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._first_process:
            if self._bar is not None:
                self._bar.close()
            # A disk that is full fails the last flush as well; the first error is the one to show.
            with contextlib.suppress(OSError):
                self._events.close()
            with contextlib.suppress(OSError):
                self._file.close()
            if self._wandb is not None:
                self._wandb.finish()

    def write(self, line: Mapping[str, Any], shown: bool = True) -> None:
        """Writes one line; ``split`` and ``step`` name it, the other values are numbers or words.

        Args:
            line: what to write.
            shown: also on the screen.
        Raises:
            UserError: the disk is full, or the like.
        """
        if not self._first_process:
            return
        named = {f"{line['split']}/{name}": value for name, value in _numbers(line).items()}
        try:
            self._file.write(_to_json(line))
            self._file.flush()
            self._events.write(named, line["step"])
        except OSError as error:
            raise UserError(
                f"The log of step {line['step']} could not be written to {self._file.name} or "
                f"beside it: {error}. Training stops here; the checkpoints are intact. Make room "
                "on the disk, and give the same command to go on."
            ) from error
        if self._wandb is not None:
            self._wandb.log(named | {"step": line["step"]})
        if shown:
            self._show(line)

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A picture for TensorBoard, uint8 (height, width, 1 or 3).

        Raises:
            UserError: the disk is full, or the like.
        """
        if not self._first_process:
            return
        try:
            self._events.picture(name, pixels, step)
        except OSError as error:
            raise UserError(
                f"A picture could not be written beside {self._file.name}: {error}. Make room on "
                "the disk, and give the same command to go on."
            ) from error

    def holds(self, split: str, step: int) -> bool:
        """Whether the run that is gone on with has left such a line; in the first process."""
        return self._first_process and (split, step) in self._kept

    def say(self, text: str) -> None:
        """A sentence for the screen only."""
        if self._first_process:
            tqdm.write(text, file=sys.stderr if self._bar is not None else sys.stdout)
            sys.stdout.flush()

    def advance(self, step: int) -> None:
        """Moves the bar to ``step``."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def _show(self, line: Mapping[str, Any]) -> None:
        text = "  ".join(f"{name} {_short(value)}" for name, value in _numbers(line).items())
        if self._bar is not None and line["split"] == "train":
            self._bar.set_postfix_str(text)
            return
        done = line["step"] - self._began_step
        left = (time.monotonic() - self._began) / max(done, 1) * (self._total - line["step"])
        tail = f"  {_duration(left)} left" if line["split"] == "train" else ""
        self.say(f"{line['split']:5} step {line['step']}/{self._total}  {text}{tail}")


class _Events:
    """A TensorBoard event file, written as it is asked to be.

    Not tensorboardX's SummaryWriter: its thread dies when the disk is full, and the next lines wait
    for it for ever; its flush does not wait for the thread; and two runs that start in one second
    write the same file.
    """

    def __init__(self, directory: Path, first_step: int):
        directory.mkdir(exist_ok=True)
        self._writer = EventsWriter(str(directory / "events"), f".{time.time_ns()}")
        # TensorBoard drops what it has of these steps.
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=first_step, session_log=start))

    def write(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._write(Event(step=step, summary=scalar(name, value)))
        self._writer.flush()

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        self._write(Event(step=step, summary=image(name, pixels, dataformats="HWC")))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)


def record(workdir: str | Path, line: Mapping[str, Any]) -> None:
    """Appends one line to ``metrics.jsonl``, unless one that says the same is there already.

    Never rewrites the file: a run may be writing to it, and what was measured before stays. Of
    several lines of one split and step, the last counts.

    Raises:
        UserError: the disk is full, or the like; the message has the line.
    """
    if jax.process_index() != 0:
        return
    path = local(workdir) / FILE_NAME
    name = (line["split"], line["step"])
    try:
        same = [other for other in _read(path) if (other["split"], other["step"]) == name]
        # The loop's own line of that step says a little more.
        if same and same[-1].items() >= json.loads(_to_json(line)).items():
            return
        before = path.read_bytes() if path.exists() else b""
        with path.open("a") as file:
            # A run that was killed may have left half a line.
            file.write(("" if before.endswith(b"\n") or not before else "\n") + _to_json(line))
    except OSError as error:
        raise UserError(
            f"The result could not be added to {path}: {error.strerror}. It is: {_to_json(line)}"
        ) from error


def last_line_of_the_run(workdir: str | Path) -> dict[str, Any] | None:
    """The last evaluation that the training loop wrote, or None where there is none.

    Only its own lines say which is best so far; an ``evaluate`` job may have added others, of other
    data or another checkpoint.
    """
    lines = [line for line in _read(local(workdir) / FILE_NAME) if "best_step" in line]
    return lines[-1] if lines else None


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines that can be read: of split and step at least.

    A run that was killed may have cut its last line short, and a disk may have changed any.
    """
    lines = []
    text = path.read_text(encoding="utf-8-sig", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict) and _is_line(found):
                lines.append(found)
    return lines


def _is_line(found: dict[str, Any]) -> bool:
    step = found.get("step")
    return isinstance(found.get("split"), str) and isinstance(step, int) and step >= 0


def _rewrite(path: Path, lines: list[Mapping[str, Any]]) -> None:
    # A new file put in place by a rename: a kill in between leaves the old one.
    new = path.with_suffix(".tmp")
    new.write_text("".join(map(_to_json, lines)))
    os.replace(new, path)


def _to_json(line: Mapping[str, Any]) -> str:
    # JSON has no NaN: a value that is none becomes null.
    finite = {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()
    }
    return json.dumps(finite) + "\n"


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in line.items()
        if name not in ("split", "step") and isinstance(value, int | float)
    }


def _open_wandb(project: str | None, name: str | None, workdir: Path) -> Any:
    if project is None:
        return None
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise UserError(
            f"config.train.wandb_project is {project!r}, but Weights & Biases is not installed: "
            "pip install wandb, or leave the field at None."
        ) from error
    run = wandb.init(
        project=project,
        name=name,
        dir=str(workdir),
        # The same workdir is the same run, resumed or not.
        id=hashlib.sha256(str(workdir.resolve()).encode()).hexdigest()[:16],
        resume="allow",
    )
    # By our own step: a resumed run logs some steps again, which W&B's counter refuses.
    run.define_metric("*", step_metric="step")
    return run


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
