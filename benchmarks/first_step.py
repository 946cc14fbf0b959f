"""Seconds from the start of a process to the first training step done: cold, and with the cache.

Starts `deepmad_jax.main` with the train job on generated images, in processes of their own: first
with an empty cache of compiled programs, then twice with what the first one left there. A run's
time is from the start of its process to the line that the loop writes after its first step: imports
and the building of the network are in it, the design is not.

    python benchmarks/first_step.py --config configs/digits.py

On two CPU cores shared with much other work, with jax 0.10.2, that printed (2026-11-23):

    cold           30.3 s to the first step, of which   18.5 s in the step
    cached          6.8 s to the first step, of which    2.2 s in the step
    cached again    7.7 s to the first step, of which    2.3 s in the step

On one core of an Intel Xeon with AVX-512, jax 0.10.2, with ``-- --config.train.batch_size=8
--config.design.resolution=96 --config.train.dtype=float32``, cold (2026-12-01; in brackets, in
turns with it, commit 5407722, whose update was of stacks of blocks at once):

    configs/r50.py            38.5 s (78.8) to the first step,   32.2 s (70.9) of it in the step
    configs/deepmad_29m.py    48.6 s (94.8) to the first step,   41.8 s (85.2) of it in the step

On GPU and TPU: not yet run.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST = re.compile(r"first step done after ([\d.]+) s")


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        design = root / "design"
        _start(args, root, design, ["--config.jobs=design"]).communicate()
        for name in ("cold", "cached", "cached again"):
            process = _start(
                args,
                root,
                root / name.replace(" ", "_"),
                [
                    "--config.jobs=train",
                    f"--config.architecture={design / 'architecture.json'}",
                    "--config.data.source=fake",
                ],
            )
            total, compiling = _until_first_step(process)
            print(
                f"{name:12} {total:6.1f} s to the first step, {compiling:6.1f} s of it in the step"
            )


def _start(
    args: argparse.Namespace, root: Path, workdir: Path, more: list[str]
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-u", "-m", "deepmad_jax.main", "--config", args.config]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(root / "compiled")}
    return subprocess.Popen(
        [*command, "--workdir", str(workdir), *more, *args.override],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def _until_first_step(process: "subprocess.Popen[str]") -> tuple[float, float]:
    """Seconds since now, and of the step alone; the process is then ended."""
    began = time.monotonic()
    assert process.stdout is not None
    for line in process.stdout:
        found = FIRST.search(line)
        if found:
            total = time.monotonic() - began
            process.kill()
            process.wait()
            return total, float(found[1])
    raise SystemExit(f"{process.args} ended without a first step")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="configs/digits.py")
    parser.add_argument("override", nargs="*", help="more flags for the runs, after --")
    return parser.parse_args()


if __name__ == "__main__":
    main()
