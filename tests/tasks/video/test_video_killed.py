"""The command that trains a recogniser, killed, with worker processes and a cache of frames."""

import dataclasses
import os
import signal

import pytest
from test_video_job import ARCH, CONFIG

from deepmad_jax.data.motion import draw_motion
from tests.tasks.killed import (
    ROOT,
    assert_same_run,
    finish,
    lines_without_times,
    start,
    steps_saved,
    until_saved,
    write_config,
)


@pytest.mark.slow
def test_the_config_of_drawn_motions_learns_them_killed_or_not(tmp_path):
    draw_motion(tmp_path / "set", {"train": 900, "val": 120})
    file = ROOT / "configs" / "video" / "motion.py"
    command = (file, tmp_path / "run", f"--config.data.data_dir={tmp_path / 'set'}")
    process = start(*command)
    until_saved(process, tmp_path / "run", 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert "going on from step" in finish(start(*command))
    last = lines_without_times(tmp_path / "run")[-1]
    assert (last["split"], last["videos"]) == ("eval", 120)
    # A guess is right for one of six.
    assert last["top1"] > 0.95


@pytest.mark.slow
def test_killed_run_ends_with_the_bits_and_lines_of_one_that_was_not(tmp_path):
    draw_motion(tmp_path / "set", {"train": 18, "val": 6})
    (tmp_path / "tiny.json").write_text(ARCH.to_json())
    files = {}
    for name in ("whole", "killed"):
        config = dataclasses.replace(
            CONFIG,
            jobs=("train",),
            architecture=str(tmp_path / "tiny.json"),
            data=dataclasses.replace(CONFIG.data, data_dir=str(tmp_path / "set"), workers=1),
            train=dataclasses.replace(CONFIG.train, epochs=6, eval_every_epochs=3),
            # Of its own: that of the other run is full.
            video=dataclasses.replace(CONFIG.video, cache=str(tmp_path / f"frames_{name}")),
        )
        files[name] = tmp_path / f"{name}.py"
        write_config(files[name], config)
    whole, workdir = tmp_path / "whole", tmp_path / "killed"
    finish(start(files["whole"], whole))
    for step in (1, steps_saved(whole)[-1] // 2):
        process = start(files["killed"], workdir)
        until_saved(process, workdir, step)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert "going on from step" in finish(start(files["killed"], workdir))
    assert_same_run(workdir, whole, ("videos.csv", "classes.txt"))
