"""Ctrl-C at every kind of moment: one message, status 130, and nothing left running."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.interrupts import MESSAGE

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 120
"""For a busy machine; nothing below waits so long where it is idle."""

MOMENTS = {
    "python": "ready(); time.sleep(1000)",
    "a call that does not come back": "import ctypes; ready(); ctypes.CDLL(None).sleep(1000)",
    "a callback whose errors are lost": """
        class Slow:
            def __del__(self):
                ready(); time.sleep(1000)
        Slow()
    """,
    "an import": """
        import pathlib, tempfile
        folder = tempfile.mkdtemp(); sys.path.insert(0, folder)
        pathlib.Path(folder, "slow.py").write_text("import time; print('ready', flush=True); "
            "time.sleep(1000)")
        import slow
    """,
    "an error's handling": """
        try:
            1 / 0
        except ZeroDivisionError:
            ready(); time.sleep(1000)
    """,
    "waiting for a thread at the end": """
        import threading
        threading.Thread(target=lambda: (ready(), time.sleep(1000))).start()
    """,
    "tidying up at the end": """
        import atexit
        atexit.register(lambda: (ready(), time.sleep(1000)))
    """,
    "workers at work": """
        from deepmad_jax.design.studies.workers import one_core_each
        with one_core_each(2) as pool:
            futures = [pool.submit(time.sleep, 0.001), pool.submit(time.sleep, 1000)]
            futures[0].result(); ready(); futures[1].result()
    """,
    "workers that start": """
        from deepmad_jax.design.studies.workers import one_core_each
        with one_core_each(2) as pool:
            futures = [pool.submit(time.sleep, 1000) for _ in range(2)]
            ready(); futures[1].result()
    """,
}


def start(command, **options):
    """In a process group of its own, as a shell starts what Ctrl-C is for."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        **options,
    )


def program(body):
    """A program that watches for interrupts, and says when it is ready for one."""
    lines = [line.removeprefix("        ") for line in body.splitlines()]
    return [
        *(sys.executable, "-c"),
        "import subprocess, sys, time\n"
        "from deepmad_jax.interrupts import watch_for_interrupts\n"
        "def ready(): print('ready', flush=True)\n"
        "watch_for_interrupts()\n" + "\n".join(lines),
    ]


def interrupt(process):
    """Its status and what it said after Ctrl-C; returns only when its workers are gone too."""
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out, err


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_message_and_status_130_whatever_is_going_on(moment):
    process = start(program(MOMENTS[moment]))
    assert process.stdout.readline() == "ready\n"
    assert interrupt(process) == (130, "", f"\n{MESSAGE}\n")


def test_what_was_printed_to_a_pipe_is_not_lost():
    process = start(program("print('first'); print('ready', file=sys.stderr); time.sleep(1000)"))
    assert process.stderr.readline() == "ready\n"
    assert interrupt(process) == (130, "first\n", f"\n{MESSAGE}\n")


def test_a_full_pipe_does_not_hold_it_up():
    # Nobody reads: the main thread waits in the middle of a line, with the stream to itself.
    body = "print('ready', file=sys.stderr, flush=True); print('x' * 10_000_000)"
    process = start(program(body))
    assert process.stderr.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 130
    process.communicate()


def test_a_second_one_changes_nothing():
    process = start(program(MOMENTS["python"]))
    assert process.stdout.readline() == "ready\n"
    for _ in range(50):
        os.killpg(process.pid, signal.SIGINT)
    assert interrupt(process) == (130, "", f"\n{MESSAGE}\n")


def test_workers_of_a_program_with_its_own_ways_say_nothing():
    body = """
        from deepmad_jax.design.studies.workers import one_core_each
        with one_core_each(2) as pool:
            for _ in range(2):
                pool.submit(subprocess.call, ["sh", "-c", "echo ready; sleep 2"])
            time.sleep(1000)
    """
    command = program(body)
    command[-1] = command[-1].replace("\nwatch_for_interrupts()", "")
    process = start(command)
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    _, _, complaint = interrupt(process)
    assert complaint.count("Traceback") == 1, complaint  # the program's own


def test_where_a_shell_has_it_ignored_it_stays_so():
    ignoring = start(
        program("ready(); time.sleep(1); print('done')"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert ignoring.stdout.readline() == "ready\n"
    assert interrupt(ignoring) == (0, "done\n", "")


def test_interrupted_training_goes_on_with_the_same_command(tmp_path):
    arch = Architecture("tiny", 16, 1, 10, Stem(4, 3, 1), (Stage("basic", 8, 4, 3, 2, 2),))
    (tmp_path / "tiny.json").write_text(arch.to_json())
    command = [
        *(sys.executable, "-m", "deepmad_jax.main", "--config", "configs/digits.py"),
        *("--workdir", str(tmp_path / "run"), "--config.jobs=train"),
        *(f"--config.architecture={tmp_path / 'tiny.json'}", "--config.train.epochs=3"),
        *("--config.train.warmup_epochs=0", "--config.train.checkpoint_every_epochs=1"),
        "--config.data.workers=1",
    ]
    process = start(command)
    while (tmp_path / "run" / "checkpoints" / "22").exists() is False:
        assert process.stdout.readline(), process.stderr.read()
    status, _, complaint = interrupt(process)
    if status == 0:  # it had ended before, on a busy machine
        pytest.skip("too slow to interrupt it")
    assert (status, complaint) == (130, f"\n{MESSAGE}\n")
    process = start(command)
    said, complaint = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaint
    assert "going on from step" in said
