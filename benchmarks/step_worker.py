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
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.arch import Architecture
from deepmad_jax.arch.zoo import zoo

MATMUL_SIDE = {"cpu": 2048, "gpu": 8192}
COPY_BYTES = {"cpu": 2**28, "gpu": 2**30}


@dataclasses.dataclass(frozen=True)
class Spec:
    """What to measure.

    Attributes:
        framework: ours or torch.
        step: train, eval, or peak: what the device can do at most.
        network: a name of the zoo.
        batch: images.
        resolution_px: None is the network's own.
        dtype: of the computation; None is bfloat16 on a GPU, else float32.
        round_seconds: how long a round is to last.
        scan: as in `TrainConfig`, of ours.
        cpu_convs: as in `make_network`, of ours.
        torch_mode: of torch.compile; ``eager`` does not compile.
    """

    framework: str
    step: str
    network: str = "resnet50"
    batch: int = 1
    resolution_px: int | None = None
    dtype: str | None = None
    round_seconds: float = 1.0
    scan: bool | None = None
    cpu_convs: bool | None = None
    torch_mode: str = "default"

    def architecture(self) -> Architecture:
        changes = {} if self.resolution_px is None else {"resolution": self.resolution_px}
        return zoo(self.network, **changes)

    def dtype_on(self, kind: str) -> str:
        return self.dtype or ("float32" if kind == "cpu" else "bfloat16")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A step that has run once.

    Attributes:
        run: does so many steps, and returns when all are done.
        peak_bytes: the most memory that was in use.
        analyse: facts that cost another compilation.
        facts: to report.
    """

    run: Callable[[int], None]
    peak_bytes: Callable[[], int]
    analyse: Callable[[], dict[str, Any]]
    facts: dict[str, Any]


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
    _forget_peak_rss()
    # The second step may still tune or allocate; the third tells how many make a round.
    prepared.run(1)
    steps = max(1, round(spec.round_seconds / seconds_of(prepared.run, 1)))
    print(json.dumps(prepared.facts | imported | {"steps_a_round": steps}), file=answers)
    for line in sys.stdin:
        answer = prepared.analyse() if line.strip() == "analyse" else _round(prepared, steps)
        print(json.dumps(answer), file=answers)


def seconds_of(function: Callable[..., None], *args: Any) -> float:
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


def arrays_of(arch: Architecture, images: int) -> dict[str, np.ndarray]:
    """A batch as the product's pipeline makes it, of noise."""
    rng = np.random.default_rng(0)
    shape = (images, arch.resolution, arch.resolution, arch.in_channels)
    return {
        "image": rng.integers(0, 256, shape, np.uint8),
        "label": rng.integers(0, arch.classes, images, np.int32),
        "mask": np.ones(images, np.float32),
    }


def best_rates(matmul: Callable[[], None], copy: Callable[[], None], kind: str) -> dict[str, float]:
    """FLOP/s of a large matmul and bytes/s of a large array plus one in place, each at its best."""
    best = {}
    for name, run in (("matmul", matmul), ("copy", copy)):
        run()
        best[name] = min(seconds_of(run) for _ in range(8))
    return {
        "flops_per_second": 2 * MATMUL_SIDE[kind] ** 3 / best["matmul"],
        "bytes_per_second": 2 * COPY_BYTES[kind] / best["copy"],
    }


def peak_rss() -> int:
    """The most memory this process held since its peak was forgotten, bytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


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
