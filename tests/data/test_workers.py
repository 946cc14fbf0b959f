"""Worker processes end without a word."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("leave_workers.py")


def test_workers_that_are_closed_fail_or_are_left_behind_leak_nothing():
    # Shared memory still registered at the end is told on stderr by Python's resource tracker.
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert done.stdout == "17 ends it\n(10, 16, 16, 1)\n"
    assert done.stderr == ""
    assert done.returncode == 0
