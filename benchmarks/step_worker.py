"""A process of `train_step.py`, from both ends: it makes one step, then times it when asked.

`Worker` starts it, `work` is what it does. It answers in lines of JSON on stdout: first the facts
of the step, then one line for each line of input: ``time`` (a round of steps) or ``analyse`` (XLA's
count of bytes). It ends where the input ends. How a step is made stands in `step_ours.py` and
`step_torch.py`; no process loads both frameworks.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.step import Prepared, Spec, peak_rss, seconds_of
from deepmad_jax.freed_memory import give_freed_memory_back, keep_freed_memory


class Worker:
    """A process that has made the step of a `Spec`, ready for rounds of it."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, it lives as long as the worker
        # Not JAX's share of the memory taken in advance: both processes stand on one device.
        settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.train_step",
                f"--worker={json.dumps(dataclasses.asdict(spec))}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | settings,
        )
        self.facts = self._answer()
        self.rounds: list[dict[str, float]] = []

    def time(self) -> float:
        """Images a second in one more round."""
        self.rounds.append(self.ask("time"))
        return self.spec.batch / self.rounds[-1]["seconds"]

    def ask(self, what: str) -> Any:
        with contextlib.suppress(BrokenPipeError):  # it has died, which `_answer` tells
            print(what, file=self.process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        raise WorkerFailed(f"{self.spec}\n{self.errors.read()[-3000:]}")


class WorkerFailed(Exception):
    """The process ended without an answer, say for want of memory."""


def work(spec: Spec) -> None:
    """Prepares, then answers until the input ends."""
    keep_freed_memory()  # for either framework, as our commands do
    # Compilers write to stdout too; the answers keep it for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if spec.framework == "ours":
        from benchmarks.step_ours import peaks, prepare
    else:
        from benchmarks.step_torch import peaks, prepare
    if spec.step == "peak":
        print(json.dumps(peaks(spec)), file=answers)
        return
    imported = {"rss_after_imports_bytes": peak_rss()}
    prepared = prepare(spec)
    give_freed_memory_back()
    _forget_peak_rss()
    # The second step may still tune or allocate; the third tells how many make a round.
    prepared.run(1)
    steps = max(1, round(spec.round_seconds / seconds_of(prepared.run, 1)))
    print(json.dumps(prepared.facts | imported | {"steps_a_round": steps}), file=answers)
    for line in sys.stdin:
        answer = prepared.analyse() if line.strip() == "analyse" else _round(prepared, steps)
        print(json.dumps(answer), file=answers)


def _forget_peak_rss() -> None:
    """Compiling may need more than running, which is what we report."""
    Path("/proc/self/clear_refs").write_text("5")


def _round(prepared: Prepared, steps: int) -> dict[str, float]:
    cpu = time.process_time()
    seconds = seconds_of(prepared.run, steps) / steps
    return {
        "seconds": seconds,
        "cpu_seconds": (time.process_time() - cpu) / steps,
        "peak_bytes": prepared.peak_bytes(),
    }
