"""Seconds and memory of the design job from the start of its process, cold and with the cache.

    python -m benchmarks.design_start --out=benchmarks/results/design_start.json r18 b0

Each config is designed by `deepmad_jax.main` in processes of their own: first with an empty cache
of compiled programs, then with what that left. A run's time is from the start of its process to its
end, report included; its memory the most that the process held.
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
from typing import Any

from benchmarks.record import write_result

CONFIGS = Path(__file__).parent.parent / "configs"


def main() -> None:
    """Prints a line a config, and writes all to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+", help="of configs/")
    parser.add_argument("--cold", type=int, default=3, help="starts with an empty cache")
    parser.add_argument("--warm", type=int, default=5, help="starts with a full one")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [measure(name, args.cold, args.warm) for name in args.names]
    if args.out:
        write_result(args.out, load, rows=rows)


def measure(name: str, cold: int, warm: int) -> dict[str, Any]:
    """Seconds of each start, and the most memory of any, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        firsts = [_design(name, root / f"cold{i}", root / f"cache{i}") for i in range(cold)]
        nexts = [_design(name, root / f"warm{i}", root / "cache0") for i in range(warm)]
        design = json.loads((root / "warm0" / "design.json").read_text())
    row = {
        "name": name,
        "cold_s": [seconds for seconds, _ in firsts],
        "warm_s": [seconds for seconds, _ in nexts],
        "peak_bytes": max(peak for _, peak in firsts + nexts),
        "objective": design["objective"],
        "candidates": design["candidates"],
    }
    print(
        f"{name:16} cold {statistics.median(row['cold_s']):5.2f} s, "
        f"warm {statistics.median(row['warm_s']):5.2f} s, {row['peak_bytes'] / 1e9:.2f} GB",
        flush=True,
    )
    return row


def _design(name: str, workdir: Path, cache: Path) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of one process."""
    command = [sys.executable, "-m", "deepmad_jax.main", "--config", str(CONFIGS / f"{name}.py")]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--config.jobs=design", "--workdir", str(workdir)],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
