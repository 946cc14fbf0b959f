"""Several processes on this machine, connected over loopback, each with its share of the images."""

import re
import signal
import time

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

from launch.local_processes import free_port


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


def start_together(workdir, count, *settings):
    address = f"127.0.0.1:{free_port()}"
    return [
        start(workdir, f"processes={address},{count},{index}", *settings) for index in range(count)
    ]


def assert_close(workdir, alone):
    ours, others = arrays_of(workdir), arrays_of(alone)
    assert ours.keys() == others.keys()
    for name, value in others.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert [(line["split"], line["step"]) for line in lines_of(workdir)] == [
        (line["split"], line["step"]) for line in lines_of(alone)
    ]


@pytest.mark.parametrize("count", [2, 4])
def test_processes_end_with_the_parameters_of_one(alone, count):
    workdir = alone.parent / f"of{count}"
    for process in start_together(workdir, count):
        finish(process)
    assert_close(workdir, alone)
    counted = [line["images"] for line in lines_of(workdir) if line["split"] == "eval"]
    assert counted == [37, 37]


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


def test_sigterm_to_one_process_saves_and_ends_all(alone):
    workdir = alone.parent / "terminated"
    both = start_together(workdir, 2, "slow=0.3")
    wait_for(lambda: any(line["step"] == 6 for line in lines_of(workdir)), *both)
    both[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in both]
    assert [process.returncode for process in both] == [143, 143], said
    assert "SIGTERM: saving step" in said[0]
    assert 6 < steps_saved(workdir)[-1] < 20

    for process in start_together(workdir, 2):
        finish(process)
    assert_close(workdir, alone)
