"""Worker processes end without a word."""

import subprocess
import sys
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
