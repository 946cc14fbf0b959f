"""Two runs in one workdir: the second is refused, and a killed one leaves nothing in its way."""

import signal
import subprocess
import sys

import pytest

from deepmad_jax.errors import UserError
from deepmad_jax.jobs.lock import only_run_in
from deepmad_jax.main import main

HOLDER = """
import sys, time
from pathlib import Path
from deepmad_jax.jobs.lock import only_run_in

with only_run_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_told_which_process_trains_there(holder, tmp_path):
    expected = rf"Another run trains in .*process {holder.pid} on"
    with pytest.raises(UserError, match=expected), only_run_in(tmp_path):
        pass


def test_a_killed_run_leaves_no_lock_behind(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with only_run_in(tmp_path):
        pass
    with only_run_in(tmp_path):
        pass


def test_the_train_job_is_refused_where_another_trains(holder, tmp_path, capsys):
    command = ["main", "--config=configs/digits.py", "--config.jobs=train"]
    command += ["--config.architecture=resnet18", f"--workdir={tmp_path}"]
    assert main(command) == 2
    assert "Another run trains in" in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists()
