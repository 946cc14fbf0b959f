"""Several processes on this machine, connected over loopback, each with its share of the images."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from starting import (
    PATIENCE_SECONDS,
    arrays_of,
    end_all,
    finish,
    lines_of,
    start,
    steps_saved,
    wait_for,
)

from deepmad_jax.arch import Architecture, Stage, Stem
from launch.local_processes import free_port

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _nothing_left_running():
    yield
    end_all()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    workdir = tmp_path_factory.mktemp("distributed") / "alone"
    finish(start(workdir))
    return workdir


def start_together(workdir, count, *settings, devices=1):
    address = f"127.0.0.1:{free_port()}"
    return [
        start(workdir, f"processes={address},{count},{index}", *settings, devices=devices)
        for index in range(count)
    ]


def assert_close(workdir, alone):
    ours, others = arrays_of(workdir), arrays_of(alone)
    assert ours.keys() == others.keys()
    for name, value in others.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert [(line["split"], line["step"]) for line in lines_of(workdir)] == [
        (line["split"], line["step"]) for line in lines_of(alone)
    ]


@pytest.mark.slow
def test_the_first_job_of_one_may_outlast_the_others_patience(tmp_path):
    """The others wait for `by_the_first` longer than the 30 s that a first exchange may take."""
    code = (
        "import sys, time; from deepmad_jax.processes import by_the_first, join\n"
        "join(sys.argv[1]); by_the_first(lambda: time.sleep(33)); print('met')"
    )
    address = f"127.0.0.1:{free_port()}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"{address},2,{index}"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for index in range(2)
    ]
    for process in both:
        assert process.communicate(timeout=PATIENCE_SECONDS)[0].endswith("met\n")


@pytest.mark.slow
def test_the_command_in_two_processes_ends_as_in_one(tmp_path):
    arch = Architecture("tiny", 16, 1, 10, Stem(4, 3, 1), (Stage("basic", 8, 4, 3, 2, 2),))
    (tmp_path / "tiny.json").write_text(arch.to_json())
    flags = [
        "--config", str(ROOT / "configs/digits.py"), "--config.jobs=train,evaluate",
        f"--config.architecture={tmp_path / 'tiny.json'}", "--config.train.epochs=2",
        "--config.train.batch_size=256", "--config.train.warmup_epochs=0",
    ]  # fmt: skip
    launcher = [sys.executable, str(ROOT / "launch/local_processes.py"), "2"]
    alone = [sys.executable, "-m", "deepmad_jax.main"]
    lines = []
    for command, workdir in ((launcher, tmp_path / "two"), (alone, tmp_path / "one")):
        done = subprocess.run(
            [*command, *flags, "--workdir", str(workdir)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        assert done.returncode == 0, done.stderr
        lines.append(lines_of(workdir)[-1])
    two, one = lines
    assert (two["split"], two["step"], two["images"]) == ("eval", one["step"], 360)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_end_with_the_parameters_of_one(alone, count):
    workdir = alone.parent / f"of{count}"
    for process in start_together(workdir, count):
        finish(process)
    assert_close(workdir, alone)
    counted = [line["images"] for line in lines_of(workdir) if line["split"] == "eval"]
    assert counted == [37, 37]


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_four_processes_of_two_devices_end_with_the_parameters_of_one(alone, fsdp):
    """With the state split over a process's devices, over two processes', and not at all.

    Of the arrays some do not divide by four and stay whole; the 37 images of an evaluation make one
    batch of 56 places, 10 of them in the first process and 9 in each of the others.
    """
    workdir = alone.parent / f"fsdp{fsdp}"
    for process in start_together(workdir, 4, f"fsdp={fsdp}", "split=1", devices=2):
        finish(process)
    assert_close(workdir, alone)
    counted = [line["images"] for line in lines_of(workdir) if line["split"] == "eval"]
    assert counted == [37, 37]
    found = np.load(workdir / "devices.npz")
    assert found["devices"] == 8
    assert set(found["whole"]) == ({True} if fsdp == 1 else {True, False})


@pytest.mark.slow
def test_a_state_split_over_processes_goes_on_split_over_fewer(alone):
    workdir = alone.parent / "fewer"
    settings = ("split=1", "slow=0.3")
    four = start_together(workdir, 4, "fsdp=4", *settings, devices=2)
    wait_for(lambda: any(line["step"] == 6 for line in lines_of(workdir)), *four)
    four[2].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in four]
    assert [process.returncode for process in four] == [143] * 4, said
    assert 6 < steps_saved(workdir)[-1] < 20
    for process in start_together(workdir, 2, "fsdp=2", "split=1", devices=2):
        finish(process)
    assert_close(workdir, alone)


@pytest.mark.slow
def test_a_batch_that_the_processes_cannot_share_is_refused_by_all_of_them(tmp_path):
    launcher = [sys.executable, str(ROOT / "launch/local_processes.py"), "3"]
    arch = Architecture("tiny", 16, 1, 10, Stem(4, 3, 1), (Stage("basic", 8, 4, 3, 2, 2),))
    (tmp_path / "tiny.json").write_text(arch.to_json())
    flags = [
        "--config", str(ROOT / "configs/digits.py"), "--config.jobs=train",
        f"--config.architecture={tmp_path / 'tiny.json'}", "--config.train.batch_size=256",
    ]  # fmt: skip
    done = subprocess.run(
        [*launcher, *flags, "--workdir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 2, done.stderr
    assert "choose a multiple of 3, such as 258" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_loss_of_one_process_stops_the_others_and_a_restart_resumes(alone, victim):
    workdir = alone.parent / f"lost{victim}"
    both = start_together(workdir, 2, "slow=0.3")
    wait_for(lambda: (workdir / "checkpoints" / "5").exists(), *both)
    both[victim].kill()
    began = time.monotonic()
    said, _ = both[1 - victim].communicate(timeout=PATIENCE_SECONDS)
    assert time.monotonic() - began < 60
    both[victim].communicate()
    assert both[1 - victim].returncode not in (0, -signal.SIGKILL)
    # The second is XLA's own, where the first process is gone, which keeps the list of the others.
    assert re.search("lost its connection to another one|another task died", said), said

    for process in start_together(workdir, 2):
        finish(process)
    assert_close(workdir, alone)


@pytest.mark.parametrize(("first", "then"), [(2, 1), pytest.param(4, 2, marks=pytest.mark.slow)])
def test_sigterm_to_one_process_ends_all_and_another_number_goes_on(alone, first, then):
    workdir = alone.parent / f"terminated{first}"
    processes = start_together(workdir, first, "slow=0.3")
    wait_for(lambda: any(line["step"] == 6 for line in lines_of(workdir)), *processes)
    processes[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [143] * first, said
    assert "SIGTERM: saving step" in said[0]
    assert 6 < steps_saved(workdir)[-1] < 20

    for process in start_together(workdir, then):
        finish(process)
    assert_close(workdir, alone)


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others_within_two_minutes(alone):
    """Stopped, it answers nothing, and its connections stay open: only its silence tells."""
    workdir = alone.parent / "hung"
    both = start_together(workdir, 2, "slow=0.3")
    wait_for(lambda: any(line["step"] == 6 for line in lines_of(workdir)), *both)
    both[1].send_signal(signal.SIGSTOP)
    said, _ = both[0].communicate(timeout=120)
    assert both[0].returncode not in (0, -signal.SIGKILL)
    assert re.search("lost its connection to another one|heartbeat", said), said
