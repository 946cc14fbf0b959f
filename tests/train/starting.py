"""Starting `workers.py` as processes of their own, and reading what they left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from deepmad_jax.train.window import TIMED

WORKERS = Path(__file__).parent / "workers.py"
PATIENCE_SECONDS = 240
"""For a busy machine; nothing below waits so long where it is idle."""


STARTED = []


def start(workdir, *settings, output=subprocess.PIPE, devices=1):
    """One process that trains in ``workdir``, with so many CPU devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(WORKERS.parents[2]),
        # Every process compiles the same two steps.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    process = subprocess.Popen(
        [sys.executable, str(WORKERS), str(workdir), *settings],
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )
    STARTED.append(process)
    return process


def finish(process):
    """What it said; fails where its status is not 0."""
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    return said


def wait_for(condition, *processes):
    """Until ``condition()`` holds; fails where one of the processes ends before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        ended = [p for p in processes if p.poll() is not None]
        assert not ended, [(p.returncode, p.communicate()[0]) for p in ended]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def lines_of(workdir):
    """The metrics without their times, which differ from run to run."""
    file = workdir / "metrics.jsonl"
    lines = [json.loads(text) for text in file.read_text().splitlines()] if file.exists() else []
    return [{k: v for k, v in line.items() if k not in TIMED} for line in lines]


def arrays_of(workdir):
    return dict(np.load(workdir / "state.npz"))


def steps_saved(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def end_all():
    """Kills what a failed test has left running."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
