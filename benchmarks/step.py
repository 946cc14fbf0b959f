"""What both ends of a measured step share: its `Spec`, the `Prepared` step, clocks and counters."""

import dataclasses
import re
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
