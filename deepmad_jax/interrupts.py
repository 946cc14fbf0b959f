"""Ctrl-C at any moment: one message and status 130, from the command line's processes.

Python's own way raises KeyboardInterrupt in the main thread. That waits for a compilation to end,
is lost where it comes in a callback that may not fail, and shows tracebacks in imports, in worker
processes and on the way out. So a thread waits for the signal and ends the program there and then.
What a killed run leaves, the next one can read: files get their name when they are whole, or grow
by lines.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import Any

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of a run that Ctrl-C stopped, by the shell's custom."""

MESSAGE = "interrupted; what was already saved in the workdir stays."

_FLUSH_SECONDS = 1


def watch_for_interrupts() -> None:
    """From now on Ctrl-C ends this process and its workers, which do not see it themselves.

    To be called first of all, in the main thread, before there are other threads or processes:
    they inherit what is set here. Nothing is changed where the signal is ignored, as in the
    background of a shell, or the system has no such threads.
    """
    if not hasattr(signal, "pthread_sigmask") or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    # Held back in every thread but taken by the one that waits for it; and held back in workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    # Should a library let it through again, to the main thread.
    signal.signal(signal.SIGINT, lambda *_: _leave())
    threading.Thread(target=_wait, name="interrupts", daemon=True).start()
    _start_tracker()


def _start_tracker() -> None:
    """Starts the process by which multiprocessing tidies up after its workers.

    Started later, it would let the signal through again. It would also warn that it has something
    to do, when this program has ended at once.
    """
    from multiprocessing import resource_tracker

    filters = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, filters))
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _wait() -> None:
    signal.sigwait({signal.SIGINT})
    _leave()


def _leave() -> None:
    if not _leaving.acquire(blocking=False):
        return
    # What was printed to a file or a pipe; whoever reads the pipe may have stopped.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)
    workers = [worker.pid for worker in _workers() if worker.exitcode is None]
    os.write(2, f"\n{MESSAGE}\n".encode())
    # No other thread runs from here on: none is to complain that the workers are gone.
    sys.setswitchinterval(1000)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(INTERRUPTED)


_leaving = threading.Lock()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()


def _workers() -> list[Any]:
    # Not imported here: an import of the main thread may be under way.
    module = sys.modules.get("multiprocessing.process")
    return list(getattr(module, "_children", ()))
