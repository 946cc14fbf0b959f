"""A sweep of many budgets: its wall time, and how its designs stand beside single ones.

    python -m benchmarks.sweep --out=benchmarks/results/sweep.json

Random budgets around ResNet-18's are designed by the sweep job, in a process of its own with an
empty cache of compiled programs; then every so many-th of them alone, with all the effort of a
single design.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import write_result
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.problem import Problem

COMMAND = (
    "--config", "configs/r18.py", "--config.jobs=sweep", "--config.sweep.macs=0.9e9,3.6e9",
    "--config.sweep.params=6e6,24e6", "--config.sweep.rho=0.1,0.7",
)  # fmt: skip


def main() -> None:
    """Prints one line on the time and one on the quality, and writes all to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--budgets", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "deepmad_jax.main", *COMMAND),
                *(f"--config.sweep.random={args.budgets}", "--workdir", folder),
            ],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(Path(folder) / "compiled")},
            check=True,
        )
        seconds = time.perf_counter() - began
        lines = (Path(folder) / "sweep.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["feasible"]]
    print(
        f"{args.budgets:,} budgets in {seconds:.1f} s, {len(rows):,} of them can be met", flush=True
    )
    ratios = []
    for row in sorted(rows, key=lambda row: row["key"])[:: max(len(rows) // args.compared, 1)]:
        problem = Problem(**{name: _tuple(value) for name, value in json.loads(row["key"]).items()})
        ratios.append(row["objective"] / float(design_network(problem).numbers.objective))
    short = sum(ratio < 0.998 for ratio in ratios)
    print(
        f"{len(ratios)} of the designs over the single ones: least {min(ratios):.5f}, "
        f"median {statistics.median(ratios):.5f}, {short} below 0.998"
    )
    if args.out:
        write_result(args.out, load, budgets=args.budgets, seconds=seconds, ratios=ratios)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main()
