"""Processes killed, disks full, checkpoints broken: for real."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from starting import arrays_of, end_all, finish, lines_of, start, steps_saved, wait_for

RECIPE = ("dropout=0.1", "ema_decay=0.9")
"""So that random numbers and averages must be resumed too."""


def begin(workdir, *settings, **options):
    return start(workdir, *RECIPE, *settings, **options)


@pytest.fixture(autouse=True)
def _nothing_left_running():
    yield
    end_all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing befell."""
    workdir = tmp_path_factory.mktemp("faults") / "whole"
    finish(begin(workdir))
    return workdir


def assert_same_run(workdir, whole):
    ours, others = arrays_of(workdir), arrays_of(whole)
    assert ours.keys() == others.keys()
    for name, value in others.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert lines_of(workdir) == lines_of(whole)


def kill_when(process, condition):
    wait_for(condition, process)
    process.kill()
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said


def test_killed_run_ends_with_the_same_bits_and_lines(whole):
    workdir = whole.parent / "killed"
    saving = workdir / "checkpoints"

    # Between two checkpoints, then while one is being written, then as the run starts.
    process = begin(workdir, "slow=0.5")
    kill_when(process, lambda: (saving / "5").exists() and lines_of(workdir)[-1]["step"] == 6)
    assert steps_saved(workdir) == [5]
    process = begin(workdir)
    kill_when(process, lambda: list(saving.glob("10.orbax*")))
    process = begin(workdir, "slow=0.5")
    kill_when(process, lambda: lines_of(workdir)[-1]["step"] == 12)

    said = finish(begin(workdir))
    assert "the lines in between are dropped here and come again" in said
    assert_same_run(workdir, whole)
    assert not list(saving.glob("*tmp*"))


@pytest.mark.slow
def test_run_killed_at_any_moment_ends_with_the_same_bits_and_lines(whole):
    workdir = whole.parent / "often"
    rng = np.random.default_rng(0)
    for _ in range(20):
        process = begin(workdir, "slow=0.2", output=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(1, 12))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    finish(begin(workdir))
    assert_same_run(workdir, whole)


@pytest.mark.parametrize("damage", ["truncated", "half deleted", "deleted"])
def test_broken_latest_checkpoint_gives_way_to_the_one_before(whole, damage, capfd):
    import workers

    workdir = whole.parent / damage.replace(" ", "_")
    shutil.copytree(whole, workdir)
    (workdir / "state.npz").unlink()
    latest = workdir / "checkpoints" / "20"
    if damage == "truncated":
        for file in (p for p in (latest / "state").rglob("*") if p.is_file()):
            os.truncate(file, file.stat().st_size // 2)
    else:
        shutil.rmtree(latest if damage == "deleted" else latest / "state")
    assert workers.main(workdir, *RECIPE) == 0
    said = capfd.readouterr().out
    if damage == "deleted":
        assert "metrics.jsonl went up to step 20, the checkpoint to 15" in said
    else:
        assert "The checkpoint of step 20 in" in said
        assert "cannot be read" in said
        assert (workdir / "checkpoints" / "unreadable-20").is_dir()
    assert steps_saved(workdir) == [15, 20]
    assert_same_run(workdir, whole)


def test_run_without_any_readable_checkpoint_does_not_start_over(whole, capfd):
    import workers

    workdir = whole.parent / "all_broken"
    shutil.copytree(whole, workdir)
    for step in steps_saved(workdir):
        shutil.rmtree(workdir / "checkpoints" / str(step) / "state")
    before = lines_of(workdir)
    assert workers.main(workdir, *RECIPE) == 2
    assert "None of the checkpoints in" in capfd.readouterr().err
    assert lines_of(workdir) == before


def test_file_that_may_not_grow_stops_training_and_spares_the_last_checkpoint(whole):
    workdir = whole.parent / "limited"
    process = begin(workdir, "slow=0.1")
    wait_for(lambda: (workdir / "checkpoints" / "5").exists(), process)
    # From now on the kernel refuses what a full disk would refuse.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (500, 500))
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 2, said
    assert "File too large" in said
    assert "Make room on the disk" in said
    assert steps_saved(workdir)[0] == 5
    finish(begin(workdir))
    assert_same_run(workdir, whole)


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk"
)
def test_full_disk_stops_training_and_spares_the_last_checkpoint(whole):
    workdir = whole.parent / "full" / "run"
    disk = workdir.parent
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        process = begin(workdir, "slow=0.1")
        wait_for(lambda: (workdir / "checkpoints" / "5").exists(), process)
        with contextlib.suppress(OSError), open(disk / "filler", "wb", 0) as filler:
            while True:
                filler.write(bytes(1024))
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 2, said
        assert "No space left on device" in said
        assert "Make room on the disk" in said
        assert steps_saved(workdir)[0] == 5
        (disk / "filler").unlink()
        finish(begin(workdir))
        assert_same_run(workdir, whole)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
