"""The command that trains a detector, killed and interrupted, with worker processes.

Its images lie and stand, so that the place in the data is one in two streams.
"""

import dataclasses
import os
import signal

import pytest
from test_detect_job import ARCH, CONFIG

from deepmad_jax.data.shapes import draw_shapes
from deepmad_jax.interrupts import MESSAGE
from tests.tasks.killed import (
    PATIENCE_SECONDS,
    assert_same_run,
    finish,
    start,
    steps_saved,
    until_saved,
    write_config,
)

PREDICTIONS = ("boxes.json", "classes.txt")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A config file, its network and its data beside it."""
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
    write_config(folder / "tiny.py", config)
    return folder / "tiny.py"


@pytest.fixture(scope="module")
def whole(file):
    workdir = file.parent / "whole"
    finish(start(file, workdir))
    return workdir


@pytest.mark.slow
def test_killed_run_ends_with_the_bits_and_lines_of_one_that_was_not(file, whole):
    workdir = file.parent / "killed"
    for step in (1, steps_saved(whole)[-1] // 2):
        process = start(file, workdir)
        until_saved(process, workdir, step)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert "going on from step" in finish(start(file, workdir))
    assert_same_run(workdir, whole, PREDICTIONS)


@pytest.mark.slow
def test_interrupted_run_says_one_line_and_goes_on(file, whole):
    workdir = file.parent / "interrupted"
    process = start(file, workdir)
    until_saved(process, workdir, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, complaint) == (130, f"\n{MESSAGE}\n")
    finish(start(file, workdir))
    assert_same_run(workdir, whole, PREDICTIONS)
