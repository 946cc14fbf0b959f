"""The iterator that hands batches out: its state is the number of the next one.

Grain's own state holds a place for every worker, so that it fits one number of workers only. Since
batch t is a function of t, a new chain of Grain iterators that starts at t goes on exactly.
"""

import gc
import json
import time
import weakref
from collections.abc import Callable
from typing import Any

import grain
import numpy as np

from deepmad_jax.data.corrupt import CORRUPT, UNLABELLED, Tally
from deepmad_jax.errors import UserError

FREEING_SECONDS = 0.05
"""Grain has a thread that gives shared memory back; this much time it gets at the end."""

Batch = dict[str, np.ndarray]


class Batches(grain.DatasetIterator[Batch]):
    """Batches without the marks of what was left out, which go to the tally.

    Args:
        start: makes an iterator that begins with the batch of a number.
        tally: of images left out.
        workers: how many processes ``start`` starts.
    """

    def __init__(self, start: Callable[[int], grain.DatasetIterator], tally: Tally, workers: int):
        super().__init__()
        self._start, self._tally, self._workers = start, tally, workers
        self._next_batch = 0
        # Made when it is needed: workers of a place that is moved at once would start for nothing.
        self._moving: list[grain.DatasetIterator] = []
        self._end: Callable[[], object] = _nothing

    def __next__(self) -> Batch:
        self._assert_not_closed()
        try:
            batch = next(self._begin())
        except (UserError, StopIteration) as error:
            # Without the frames of Grain, which hold shared memory: see `_close`.
            end = error.with_traceback(None)
        else:
            self._next_batch += 1
            self._tally.add(batch[CORRUPT], batch[UNLABELLED])
            return {n: values for n, values in batch.items() if n not in (CORRUPT, UNLABELLED)}
        self._stop()
        if isinstance(end, StopIteration):
            self._tally.end()
        raise end from None

    def get_state(self) -> dict[str, Any]:
        """The next batch's number, and the numbers of the corrupt images met so far."""
        return {"next_batch": self._next_batch, "corrupt": sorted(self._tally.corrupt)}

    def set_state(self, state: dict[str, Any]) -> None:
        self._stop()
        self._next_batch = state["next_batch"]
        self._tally.corrupt = set(state["corrupt"])

    def start_prefetch(self) -> None:
        self._begin().start_prefetch()

    def close(self) -> None:
        """Ends the worker processes, if there are any."""
        self._stop()
        super().close()

    def __str__(self) -> str:
        return f"Batches({json.dumps(self.get_state())})"

    def _begin(self) -> grain.DatasetIterator:
        if not self._moving:
            self._moving.append(self._start(self._next_batch))
            # Also at the end of a program that never closes: by then half of the modules that
            # Grain's own `__del__` needs may be gone.
            self._end = weakref.finalize(self, _close, self._moving, self._workers)
        return self._moving[0]

    def _stop(self) -> None:
        self._end()


def _close(moving: list[grain.DatasetIterator], workers: int) -> None:
    moving.pop().close()
    if workers:
        # Batches on their way lie in shared memory, which is given back when the last array of it
        # goes. Grain's frames and iterators refer to each other in circles, so some go with the
        # next collection only, and at the end of the program there is none: Python's resource
        # tracker would call them leaked.
        gc.collect()
        time.sleep(FREEING_SECONDS)


def _nothing() -> None: ...
