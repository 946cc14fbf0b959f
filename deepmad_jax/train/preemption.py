"""SIGTERM, the notice that a machine will be taken away: every process learns of it at one step."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a run that SIGTERM stopped, by the shell's custom."""


@contextlib.contextmanager
def watch_for_sigterm() -> Iterator[Callable[[int], bool]]:
    """``should_stop(step)``, to be asked at every step; inside, SIGTERM does nothing else.

    Of several processes one may get the signal; all of them are told at the same step.
    """
    if jax.process_count() > 1:
        # `jax.distributed` has its own handler, and the processes agree on a step.
        yield multihost_utils.reached_preemption_sync_point
        return
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: event.is_set()  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield lambda step: event.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
