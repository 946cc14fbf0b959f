"""Workers of a task's tests as processes, on several devices or joined, and what they leave."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 900


def start(worker, arguments, devices=1):
    """The script ``worker`` with so many CPU devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(worker.parent)]),
    }
    return subprocess.Popen(
        [sys.executable, str(worker), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def finish(*processes):
    for process in processes:
        text, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, text


def assert_close(ours, wanted, rtol, atol):
    with np.load(ours) as a, np.load(wanted) as b:
        assert set(a.files) == set(b.files)
        for name in a.files:
            if name != "__devices__":
                np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=atol, err_msg=name)
