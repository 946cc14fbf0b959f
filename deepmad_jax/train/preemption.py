"""SIGTERM, the notice that a machine will be taken away: every process learns of it at one moment.

It is asked for after every step, and in an evaluation after every batch, which is then given up.
Until the first step is done, its compilation included, a process alone ends at once: nothing of it
would be lost.
"""

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a run that SIGTERM stopped, by the shell's custom."""


class EvaluationGivenUp(Exception):
    """SIGTERM came in an evaluation."""


class Sigterm:
    """Watches for SIGTERM. Use as a context manager; inside, and once begun, it does nothing else.

    Of several processes one may get the signal: all are told at the same question, so all must ask
    equally often.
    """

    def __init__(self) -> None:
        self._came = threading.Event()
        self._asked = 0
        self._before: object = None

    def __enter__(self) -> "Sigterm":
        _watching.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _watching.remove(self)
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]
            self._before = None

    def begin(self) -> None:
        """From now on the signal waits until it is asked for."""
        # `jax.distributed` has its own handler; and only the main thread may handle signals.
        alone = jax.process_count() == 1
        if alone and self._before is None and _in_main_thread():
            self._before = signal.signal(signal.SIGTERM, self._take)

    def came(self) -> bool:
        """Whether the run is to end here."""
        if jax.process_count() > 1 and not self._came.is_set():
            # The processes agree on the number of a question; numbers must follow each other.
            self._asked += 1
            if multihost_utils.reached_preemption_sync_point(self._asked):
                self._came.set()
        return self._came.is_set()

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._came.set()


def give_up_evaluation_on_sigterm() -> None:
    """Raises `EvaluationGivenUp` where a run is watching for SIGTERM, and it came."""
    if any(watch.came() for watch in _watching):
        raise EvaluationGivenUp


_watching: list[Sigterm] = []


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
