"""Convs of clips on a CPU: XLA's 3-D conv beside the sum over frames of 2-D ones.

    python -m benchmarks.clip_convs

CPU time of one core for a conv and its gradients as `configs/video/motion_clips.py` has them, batch
8 of 8 frames, float32: the median of some runs, each form compiled before. Results:
``results/clip_convs.json``; what came out stands in docs/video.md.
"""

import os
import statistics
import time
from pathlib import Path
from typing import Any

# Before JAX loads: one core.
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.record import write_result
from deepmad_jax.nets.cpu_conv import LAYOUTS, conv_for_cpu

RESULT = Path(__file__).parent / "results" / "clip_convs.json"
BATCH, FRAMES, RUNS = 8, 8, 7
SHAPES = (
    # what, side, channels in and out, kernel, strides, groups
    ("stem 1x3x3", 48, 3, 24, (1, 3, 3), (1, 2, 2), 1),
    ("1x1x1", 24, 24, 32, (1, 1, 1), (1, 1, 1), 1),
    ("1x3x3", 12, 32, 32, (1, 3, 3), (1, 1, 1), 1),
    ("3x3x3", 24, 8, 8, (3, 3, 3), (1, 1, 1), 1),
    ("3x3x3 strided", 12, 32, 32, (3, 3, 3), (2, 2, 2), 1),
    ("3x3x3 depthwise", 12, 32, 32, (3, 3, 3), (1, 1, 1), 32),
)


def main() -> None:
    load, rows = os.getloadavg()[0], []
    for what, side, c_in, c_out, kernel, strides, groups in SHAPES:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(BATCH, FRAMES, side, side, c_in)), jnp.float32)
        w = jnp.asarray(rng.normal(size=(*kernel, c_in // groups, c_out)), jnp.float32)
        forms = {"lax": jax.lax.conv_general_dilated, "ours": conv_for_cpu}
        row: dict[str, Any] = {"conv": what, "px": side, "channels": [c_in, c_out]}
        row |= {name: _median_ms(f, x, w, strides, groups) for name, f in forms.items()}
        row["ratio"] = round(row["lax"] / row["ours"], 2)
        rows.append(row)
        print(row, flush=True)
    write_result(
        RESULT, load, command="python -m benchmarks.clip_convs",
        unit=f"ms CPU, conv and gradients, batch {BATCH} of {FRAMES} frames", rows=rows,
    )  # fmt: skip


def _median_ms(conv: Any, x: jax.Array, w: jax.Array, strides: Any, groups: int) -> float:
    pads = [((size - 1) // 2,) * 2 for size in w.shape[:3]]

    def loss(x: jax.Array, w: jax.Array) -> jax.Array:
        layout = LAYOUTS[5]
        y = conv(x, w, strides, pads, dimension_numbers=layout, feature_group_count=groups)
        return jnp.square(y).sum()

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    jax.block_until_ready(step(x, w))
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        jax.block_until_ready(step(x, w))
        times.append(1e3 * (time.process_time() - began))
    return round(statistics.median(times), 2)


if __name__ == "__main__":
    main()
