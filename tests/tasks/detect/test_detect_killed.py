"""The command that trains a detector, killed and interrupted, with worker processes.

Its images lie and stand, so that the place in the data is one in two streams.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_detect_faults import steps_saved, without_times
from test_detect_job import ARCH, CONFIG, lines_of

from deepmad_jax.config import default_config
from deepmad_jax.config.parse import to_dict
from deepmad_jax.data.shapes import draw_shapes
from deepmad_jax.interrupts import MESSAGE
from deepmad_jax.train import Checkpoints

ROOT = Path(__file__).parents[3]
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A config file, its network and its data."""
    folder = tmp_path_factory.mktemp("killed")
    draw_shapes(folder / "set", {"train": 15, "val": 6}, sizes=((48, 64), (96, 56)))
    (folder / "tiny.json").write_text(ARCH.to_json())
    config = dataclasses.replace(
        CONFIG,
        jobs=("train",),
        architecture=str(folder / "tiny.json"),
        data=dataclasses.replace(CONFIG.data, data_dir=str(folder / "set"), workers=1),
        train=dataclasses.replace(CONFIG.train, epochs=6, eval_every_epochs=3),
    )
    fields = dict(flat(to_dict(config)))
    usual = dict(flat(default_config().to_dict()))
    fields = {name: value for name, value in fields.items() if usual.get(name) != value}
    (folder / "tiny.py").write_text(FILE.format(fields=fields))
    return folder


def flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def start(folder, workdir):
    """In a process group of its own, as a shell starts what Ctrl-C is for."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "deepmad_jax.main"),
            *("--config", str(folder / "tiny.py"), "--workdir", str(workdir)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
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


@pytest.fixture(scope="module")
def whole(folder):
    workdir = folder / "whole"
    finish(start(folder, workdir))
    return workdir


def assert_same_run(workdir, whole):
    assert without_times(lines_of(workdir)) == without_times(lines_of(whole))
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
    for name in ("boxes.json", "classes.txt"):
        files = [run / "predictions" / name for run in (workdir, whole)]
        assert files[0].read_text() == files[1].read_text()


@pytest.mark.slow
def test_killed_run_ends_with_the_bits_and_lines_of_one_that_was_not(folder, whole):
    workdir = folder / "killed"
    for step in (1, steps_saved(whole)[-1] // 2):
        process = start(folder, workdir)
        until_saved(process, workdir, step)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert "going on from step" in finish(start(folder, workdir))
    assert_same_run(workdir, whole)


@pytest.mark.slow
def test_interrupted_run_says_one_line_and_goes_on(folder, whole):
    workdir = folder / "interrupted"
    process = start(folder, workdir)
    until_saved(process, workdir, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, complaint) == (130, f"\n{MESSAGE}\n")
    finish(start(folder, workdir))
    assert_same_run(workdir, whole)
