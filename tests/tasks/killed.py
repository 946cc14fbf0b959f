"""A training command of a task as a process that is killed, and its run beside a whole one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from deepmad_jax.config import default_config
from deepmad_jax.config.parse import to_dict
from deepmad_jax.train import Checkpoints
from deepmad_jax.train.window import TIMED

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 900
"""For a busy machine; a run takes a tenth of it where it is idle."""

FILE = """
from deepmad_jax.config import default_config
from deepmad_jax.recipes import set_fields


def get_config():
    config = default_config()
    set_fields(config, {fields})
    return config
"""


def write_config(path, config):
    """A config file that sets what ``config`` has other than the defaults."""
    fields = dict(_flat(to_dict(config)))
    usual = dict(_flat(default_config().to_dict()))
    fields = {name: value for name, value in fields.items() if usual.get(name) != value}
    path.write_text(FILE.format(fields=fields))


def start(file, workdir, *flags):
    """In a process group of its own, as a shell starts what Ctrl-C is for."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "deepmad_jax.main"),
            *("--config", str(file), "--workdir", str(workdir), *flags),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        },
    )


def finish(process):
    said, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaint
    return said


def until_saved(process, workdir, step):
    """Until a checkpoint of that step or a later one is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (workdir / "checkpoints").exists() or max(steps_saved(workdir), default=0) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def steps_saved(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def lines_without_times(workdir):
    lines = [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMED} for line in lines]


def assert_same_run(workdir, whole, predictions):
    """The same lines, bits of the newest checkpoint and files of predictions."""
    assert lines_without_times(workdir) == lines_without_times(whole)
    newest = steps_saved(whole)[-1]
    found = []
    for run in (workdir, whole):
        assert steps_saved(run)[-1] == newest
        with Checkpoints(run / "checkpoints", read_only=True) as checkpoints:
            found.append(checkpoints.restore_variables())
    ours, wanted = found
    assert ours.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=str(name))
    for name in predictions:
        files = [run / "predictions" / name for run in (workdir, whole)]
        assert files[0].read_text() == files[1].read_text()


def _flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
