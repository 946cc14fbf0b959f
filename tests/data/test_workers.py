"""Worker processes end without a word."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).with_name("leave_workers.py")


def test_workers_leak_nothing_however_they_end():
    # Shared memory still registered at the end is told on stderr by Python's resource tracker.
    done = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, start_new_session=True
    )
    assert done.stdout == "17 ends it\n2\n(10, 16, 16, 1)\n"
    assert done.stderr == ""
    assert done.returncode == 0


KILLED = """
import multiprocessing, signal
from leave_workers import CONFIG, open_dataset, train_batches
if __name__ == "__main__":
    dataset = open_dataset(CONFIG, resolution_px=16, channels=1, classes=2)
    batches = train_batches(dataset, CONFIG, batch_size=10, seed=0)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    signal.pause()
"""


def is_alive(pid):
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def test_workers_of_a_killed_process_end_too(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    env = os.environ | {"PYTHONPATH": f"{SCRIPT.parent}{os.pathsep}{SCRIPT.parents[2]}"}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=env) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert workers
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 120
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline, workers
        time.sleep(0.1)
