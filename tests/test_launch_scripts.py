"""The launch scripts, beside stand-ins of the clusters' own commands, and on a real SLURM."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
PATIENCE_SECONDS = 1200
"""For a busy machine."""

# Records its arguments, and fails where they hold the word $FAILS.
STAND_IN = """#!/bin/bash
printf '%s' "$(basename "$0")" >>"$RECORD"
printf '\\x1f%s' "$@" >>"$RECORD"
printf '\\x1e' >>"$RECORD"
[[ "$(basename "$0") $*" != *"${FAILS:-nothing}"* ]] || exit "$STATUS"
"""


@pytest.fixture
def call(tmp_path):
    """Runs a script where the commands named are stand-ins; gives what came of it.

    Args:
        script: of launch/.
        arguments: its own.
        stand_ins: the commands.
        environment: what is set besides; all else of the clusters is not.
    """
    folder, record = tmp_path / "bin", tmp_path / "record"
    folder.mkdir()

    def run(script, *arguments, stand_ins=(), **environment):
        record.write_text("")
        for name in stand_ins:
            path = folder / name
            path.write_text(STAND_IN)
            path.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "VENV", "IMAGE"))}
        names = {"PATH": f"{folder}:{os.environ['PATH']}", "RECORD": str(record), **environment}
        done = subprocess.run(
            ["bash", str(LAUNCH / script), *arguments],
            cwd=tmp_path, env=kept | names, capture_output=True, text=True,
        )  # fmt: skip
        done.calls = [one.split("\x1f") for one in record.read_text().split("\x1e")[:-1]]
        return done

    return run


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_bash_and_opens_with_how_it_is_called(path):
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert path.stat().st_mode & 0o111 or path.suffix == ".sbatch"
    head = lines[1 : next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert any(f"launch/{path.name}" in line for line in head)


# One process, and several ------------------------------------------------------------------------


def test_local_starts_one_process_or_several(call, tmp_path):
    fake = tmp_path / "python"
    fake.write_text(STAND_IN)
    fake.chmod(0o755)
    given = ("--config", "a config.py", "--workdir", "runs/x")
    one = call("local.sh", *given, PYTHON=str(fake), FAILS="main", STATUS="7")
    assert one.calls == [["python", "-u", "-m", "deepmad_jax.main", *given]]
    assert one.returncode == 7
    two = call("local.sh", "-n", "2", *given, PYTHON=str(fake))
    assert two.calls == [["python", "launch/local_processes.py", "2", *given]]


@pytest.mark.slow
def test_local_designs(call, tmp_path):
    given = ("--config", "configs/digits.py", "--config.jobs=design", "--workdir", str(tmp_path))
    done = call("local.sh", *given, PYTHON=sys.executable, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "architecture.json").exists()


# SLURM -------------------------------------------------------------------------------------------

GIVEN = ("--config", "configs/r18.py", "--workdir", "/shared/a run")
JOB = {"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "node[1-4]", "VENV": "/shared/.venv"}
SLURM = ("srun", "scontrol")


def array_of(task, first, last, count):
    return {
        "SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_MIN": str(first),
        "SLURM_ARRAY_TASK_MAX": str(last), "SLURM_ARRAY_TASK_COUNT": str(count),
    }  # fmt: skip


def test_slurm_starts_the_program_by_srun(call):
    done = call("slurm.sbatch", *GIVEN, stand_ins=SLURM, **JOB)
    program = ["-u", "-m", "deepmad_jax.main", *GIVEN, "--distributed=auto"]
    assert done.calls == [["srun", "--label", "/shared/.venv/bin/python", *program]]
    assert done.returncode == 0
    image = call("slurm.sbatch", *GIVEN, stand_ins=SLURM, **JOB, IMAGE="/shared/d.sif")
    container = ["apptainer", "exec", "--nv", "/shared/d.sif", "python"]
    assert image.calls == [["srun", "--label", *container, *program]]


@pytest.mark.parametrize("script", ["slurm.sbatch", "slurm_array.sbatch"])
def test_slurm_puts_a_job_back_that_saved_or_lost_a_host_and_no_other(call, script):
    def requeues(status, restarts="0"):
        names = {**JOB, "FAILS": "srun", "STATUS": str(status), "SLURM_RESTART_COUNT": restarts}
        done = call(script, *GIVEN, stand_ins=SLURM, **names)
        assert done.returncode == status
        return done.calls[1:] == [["scontrol", "requeue", "12"]]

    assert requeues(143)
    assert requeues(75) == (
        script == "slurm.sbatch"
    )  # the others of an array are not lost with one
    assert not any(requeues(status) for status in (0, 1, 2, 130))
    assert requeues(143, "99")
    assert not requeues(143, "100")


def test_slurm_array_gives_each_job_its_part(call):
    def program(**task):
        done = call("slurm_array.sbatch", *GIVEN, stand_ins=SLURM, **JOB, **task)
        return done.returncode, done.stderr, done.calls

    start = ["srun", "/shared/.venv/bin/python", "-u", "-m", "deepmad_jax.main", *GIVEN]
    part = ["--config.part.index=5", "--config.part.count=13"]
    assert program(**array_of(5, 0, 12, 13)) == (0, "", [start + part])
    # Without an array: all that is missing.
    assert program() == (0, "", [start])
    for other in (array_of(3, 3, 7, 2), array_of(5, 1, 13, 13), array_of(2, 0, 12, 7)):
        status, said, calls = program(**other)
        assert (status, calls) == (2, [])
        assert "--array must be 0-N" in said


@pytest.mark.slow
def test_real_slurm_trains_on_after_an_urgent_job_and_does_what_a_lost_part_left(tmp_path):
    for name in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("only root can start SLURM's daemons")
    environment = os.environ | {"VENV": sys.prefix, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(LAUNCH / "slurm_here.sh"), "try", str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "JobState=COMPLETED Restarts=1 ExitCode=0:0" in done.stdout

    (log,) = tmp_path.glob("deepmad-[0-9]*.log")
    said = log.read_text()
    for index in range(2):
        assert said.count(f"{index}: --distributed=auto finds SLURM.") == 2  # starts
        assert f"{index}: process {index} of 2: 1 local and 2 global devices (cpu)" in said
    assert re.search("going on from step [1-9]", said)
    lines = list(map(json.loads, (tmp_path / "digits/metrics.jsonl").read_text().splitlines()))
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == sorted(set(steps))  # none twice, none lost
    assert lines[-1]["step"] == 449
    assert lines[-1]["top1"] > 0.98

    with (tmp_path / "study/study.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["0", "1", "2", "3"]
    assert all(int(row["step"]) > 0 for row in rows)
    # The lost part was training network 1, and had not come to 3.
    assert "JobState=CANCELLED" in done.stdout
    for said in ("Network 0 is trained.", "Training network 1 in", "Training network 3 in"):
        assert said in done.stdout


# Cloud TPU ---------------------------------------------------------------------------------------

TPU = {"ZONE": "us-west4-a", "TYPE": "v5litepod-16", "VERSION": "v2-alpha-tpuv5-lite"}


def commands_of(done):
    """What was asked of gcloud: the verb and all behind it."""
    head = ["gcloud", "compute", "tpus", "tpu-vm"]
    assert all(call[:4] == head for call in done.calls)
    return [call[4:] for call in done.calls]


def tpu(call, *arguments, **environment):
    return call("tpu_vm.sh", *arguments, stand_ins=("gcloud",), **environment)


def test_tpu_slice_is_created_and_deleted_by_its_name(call):
    (created,) = commands_of(tpu(call, "create", "my-tpu", **TPU))
    wanted = ["--zone=us-west4-a", "--accelerator-type=v5litepod-16"]
    assert created == ["create", "my-tpu", *wanted, "--version=v2-alpha-tpuv5-lite"]
    (spot,) = commands_of(tpu(call, "create", "my-tpu", **TPU, SPOT="1"))
    assert spot == [*created, "--spot"]
    (deleted,) = commands_of(tpu(call, "delete", "my-tpu", ZONE="us-west4-a"))
    assert deleted == ["delete", "my-tpu", "--zone=us-west4-a", "--quiet"]


def test_tpu_hosts_get_the_commands_words_as_they_were_given(call, tmp_path):
    given = ("--config", "configs/r18.py", "--workdir", "/runs/a run; $HOME 'x'")
    (command,) = commands_of(tpu(call, "run", "my-tpu", *given, ZONE="z"))
    assert command[:4] == ["ssh", "my-tpu", "--zone=z", "--worker=all"]
    remote = command[4].removeprefix("--command=")
    # As a host's shell reads it.
    (tmp_path / "deepmad_jax/.venv/bin").mkdir(parents=True)
    python = tmp_path / "deepmad_jax/.venv/bin/python"
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$DEEPMAD_JOIN_SECONDS" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(["bash", "-c", remote], cwd=tmp_path, capture_output=True, text=True)
    program = ["-u", "-m", "deepmad_jax.main", *given, "--distributed=auto"]
    assert done.stdout.splitlines() == ["300", *program]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="it copies a commit: no repository here")
def test_tpu_hosts_get_what_is_committed_and_install_it(call):
    sent, installed = commands_of(tpu(call, "copy", "my-tpu", ZONE="z", NFS="10.0.0.2:/runs"))
    assert sent[0] == "scp"
    assert sent[2:] == ["my-tpu:deepmad_jax.tar.gz", "--zone=z", "--worker=all"]
    assert not Path(sent[1]).exists()  # the archive is not left behind
    remote = installed[4].removeprefix("--command=")
    assert subprocess.run(["bash", "-n", "-c", remote]).returncode == 0
    assert "mount -t nfs '10.0.0.2:/runs' /runs" in remote


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="it copies a commit: no repository here")
def test_tpu_slice_is_deleted_whatever_became_of_the_run(call):
    done = tpu(call, "all", "my-tpu", *GIVEN, **TPU)
    assert [c[0] for c in commands_of(done)] == ["create", "scp", "ssh", "ssh", "delete"]
    assert done.returncode == 0
    failed = tpu(call, "all", "my-tpu", *GIVEN, **TPU, FAILS="deepmad_jax.main", STATUS="3")
    assert [c[0] for c in commands_of(failed)] == ["create", "scp", "ssh", "ssh", "delete"]
    assert failed.returncode == 3
    not_created = tpu(call, "all", "my-tpu", *GIVEN, **TPU, FAILS="create", STATUS="3")
    assert [c[0] for c in commands_of(not_created)] == ["create"]  # nothing to delete
    assert not_created.returncode == 3


@pytest.mark.parametrize("arguments", [(), ("create",), ("destroy", "my-tpu")])
def test_tpu_script_without_a_meaning_shows_how_it_is_called(call, arguments):
    done = tpu(call, *arguments, **TPU)
    assert (done.returncode, done.calls) == (2, [])
    assert "launch/tpu_vm.sh create my-tpu" in done.stdout
    assert not done.stdout.startswith("#")


def test_tpu_script_names_what_is_not_set(call):
    without = tpu(call, "create", "my-tpu", ZONE="z")
    assert without.returncode != 0
    assert "TYPE: such as v5litepod-16" in without.stderr
