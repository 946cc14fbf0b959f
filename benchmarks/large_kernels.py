"""Large depthwise kernels: Fourier transforms beside the sum over taps, XLA's conv and PyTorch's.

    python -m benchmarks.large_kernels

CPU time of one core for one conv of RepLKNet-31B and SLaK-T, and of its gradients, batch 1,
float32: the least of some runs, each form compiled before. XLA's own conv and the sum over taps are
left out where they take minutes to compile or run. Results: ``results/large_kernels.json``; what
came out stands in docs/compared.md.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before JAX and PyTorch load: one core for both.
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.record import write_result
from deepmad_jax.nets.cpu_conv import LAYOUT, conv_for_cpu

RESULT = Path(__file__).parent / "results" / "large_kernels.json"
SHAPES = (
    # network, map, channels, kernel
    ("replknet_31b stage 1", 56, 128, (31, 31)),
    ("replknet_31b stage 2", 28, 256, (29, 29)),
    ("replknet_31b stage 3", 14, 512, (27, 27)),
    ("replknet_31b stage 4", 7, 1024, (13, 13)),
    ("slak_t stage 1", 56, 124, (51, 5)),
    ("slak_t stage 3", 14, 499, (47, 5)),
)
LAX_UP_TO_PX = 7


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    load, rows = os.getloadavg()[0], []
    for name, px, channels, kernel in SHAPES:
        row: dict[str, Any] = {"conv": name, "px": px, "channels": channels, "kernel": kernel}
        for form, functions in _forms(px, channels, kernel).items():
            row[form] = [round(_least_ms(f, args.runs), 2) for f in functions]
        row["ratio"] = [round(a / b, 2) for a, b in zip(row["torch"], row["ours"], strict=True)]
        rows.append(row)
        print(row, flush=True)
    write_result(
        RESULT, load, command="python -m benchmarks.large_kernels", unit="ms CPU, batch 1",
        columns=["forward", "forward and gradients"], torch=torch.__version__, rows=rows,
    )  # fmt: skip


def _forms(
    px: int, channels: int, kernel: tuple[int, int]
) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Form -> what computes the conv, and it with its gradients."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, px, px, channels)).astype(np.float32)
    w = rng.normal(size=(*kernel, 1, channels)).astype(np.float32)
    pads = [((size - 1) // 2,) * 2 for size in kernel]
    forms = {"torch": _of_torch(x, w, channels), "ours": _of_jax(conv_for_cpu, x, w, pads)}
    if px <= LAX_UP_TO_PX:
        forms["lax"] = _of_jax(jax.lax.conv_general_dilated, x, w, pads)
    return forms


def _of_jax(conv: Any, x: np.ndarray, w: np.ndarray, pads: Any) -> Any:
    arrays = jnp.asarray(x), jnp.asarray(w)

    def forward(x: jax.Array, w: jax.Array) -> jax.Array:
        groups = x.shape[-1]
        return conv(x, w, (1, 1), pads, dimension_numbers=LAYOUT, feature_group_count=groups)

    one = jax.jit(forward)
    both = jax.jit(jax.grad(lambda x, w: jnp.square(forward(x, w)).sum(), (0, 1)))
    return (
        lambda: jax.block_until_ready(one(*arrays)),
        lambda: jax.block_until_ready(both(*arrays)),
    )


def _of_torch(x: np.ndarray, w: np.ndarray, channels: int) -> Any:
    images = torch.tensor(x).permute(0, 3, 1, 2).contiguous().requires_grad_()
    weight = torch.tensor(w).permute(3, 2, 0, 1).contiguous().requires_grad_()
    padding = tuple(size // 2 for size in w.shape[:2])

    def forward() -> torch.Tensor:
        return torch.nn.functional.conv2d(images, weight, None, 1, padding, 1, channels)

    def one() -> None:
        with torch.no_grad():
            forward()

    return one, lambda: forward().square().sum().backward()


def _least_ms(function: Callable[[], Any], runs: int) -> float:
    function()
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="of which the least is taken")
    return parser.parse_args()


if __name__ == "__main__":
    main()
