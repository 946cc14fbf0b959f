"""One training run in several processes on this machine, connected over loopback.

    python launch/local_processes.py 2 --config configs/digits.py --workdir runs/two

What follows the number goes to every process. For trying out on the CPU what several hosts will do:
one process uses all GPUs or TPU cores of a machine anyway, so on one host this gains nothing.

Ends with the status of the first process that failed; the others are given time to notice, then
ended. SIGTERM and SIGINT are handed on.
"""

import signal
import socket
import subprocess
import sys
import time

GRACE_SECONDS = 60
"""How long the others may take to end once one has failed."""


ENDED_BY_SIGNAL = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Statuses of processes that were told to stop."""


def main(argv: list[str]) -> int:
    """Starts the processes, waits for them, and returns the exit status."""
    if len(argv) < 2 or not argv[1].isdigit() or int(argv[1]) < 1:
        print("usage: local_processes.py NUMBER --config FILE ...", file=sys.stderr)
        return 2
    count, address = int(argv[1]), f"127.0.0.1:{free_port()}"
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "deepmad_jax.main", *argv[2:]),
                f"--distributed={address},{count},{index}",
            ]
        )
        for index in range(count)
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: _send(running, signum))
    status = _wait(running)
    return 128 - status if status < 0 else status


def free_port() -> int:
    """A port on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(processes: list[subprocess.Popen]) -> int:
    status, deadline = 0, None
    while any(process.poll() is None for process in processes):
        failed = [p for p in processes if p.poll() not in (None, 0)]
        if failed and deadline is None:
            status, deadline = failed[0].returncode, time.monotonic() + GRACE_SECONDS
            index = processes.index(failed[0])
            if status not in ENDED_BY_SIGNAL:  # which whoever sent it knows
                print(f"process {index} ended with status {status}", file=sys.stderr, flush=True)
        if deadline is not None and time.monotonic() > deadline:
            _send(processes, signal.SIGKILL)
        time.sleep(0.1)
    return status or next((p.returncode for p in processes if p.returncode), 0)


def _send(processes: list[subprocess.Popen], signum: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
