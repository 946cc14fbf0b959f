"""What a run says: ``metrics.jsonl``, TensorBoard events, and a bar or plain lines on screen.

Only the first process writes. Every line is flushed as it is written, so that a run that is killed
has its lines; a run that goes on from a checkpoint first drops the lines beyond it.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

FILE_NAME = "metrics.jsonl"


class Logbook:
    """The logbook of one run. Use as a context manager.

    Args:
        workdir: holds ``metrics.jsonl`` and ``tensorboard/``.
        resumed_step: the step the run goes on from; lines of later steps are dropped.
        total_steps: for the bar and the time left.
    """

    def __init__(self, workdir: str | Path, *, resumed_step: int, total_steps: int):
        self._first_process = jax.process_index() == 0
        self._bar = None
        if not self._first_process:
            return
        path = Path(workdir) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        _rewrite(path, [line for line in _read(path) if line["step"] <= resumed_step])
        self._file = path.open("a")
        self._events = SummaryWriter(str(path.parent / "tensorboard"), purge_step=resumed_step + 1)
        self._total, self._began, self._began_step = total_steps, time.monotonic(), resumed_step
        if sys.stderr.isatty():
            self._bar = tqdm(total=total_steps, initial=resumed_step, unit="step", leave=False)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._first_process:
            if self._bar is not None:
                self._bar.close()
            self._events.close()
            self._file.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """Writes one line; ``split`` and ``step`` name it, the other values are numbers."""
        if not self._first_process:
            return
        self._file.write(_to_json(line))
        self._file.flush()
        for name, value in _numbers(line).items():
            self._events.add_scalar(f"{line['split']}/{name}", value, line["step"])
        self._events.flush()
        self._show(line)

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


def record(workdir: str | Path, line: Mapping[str, Any]) -> None:
    """Appends one line to ``metrics.jsonl``, unless it is there already.

    Never rewrites the file: a run may be writing to it, and what was measured before stays. Of
    several lines of one split and step, the last counts.
    """
    if jax.process_index() != 0:
        return
    path = Path(workdir) / FILE_NAME
    name = (line["split"], line["step"])
    same = [other for other in _read(path) if (other["split"], other["step"]) == name]
    if same and same[-1] == json.loads(_to_json(line)):
        return
    text = path.read_text() if path.exists() else ""
    with path.open("a") as file:
        # A run that was killed may have left half a line.
        file.write(("" if text.endswith("\n") or not text else "\n") + _to_json(line))


def _read(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        # The last line of a run that was killed may be cut short.
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


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
    return {name: value for name, value in line.items() if name not in ("split", "step")}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
