"""The iterator that hands batches out: its state is the number of the next one.

Grain's own state holds a place for every worker, so that it fits one number of workers only. Since
batch t is a function of t, a new chain of Grain iterators that starts at t goes on exactly.
"""

import json
from collections.abc import Callable
from typing import Any

import grain
import numpy as np

from deepmad_jax.data.corrupt import Tally

Batch = dict[str, np.ndarray]


class Batches(grain.DatasetIterator[Batch]):
    """Batches without their ``corrupt`` marks, which go to the tally.

    Args:
        start: makes an iterator that begins with the batch of a number.
        tally: of corrupt images.
    """

    def __init__(self, start: Callable[[int], grain.DatasetIterator], tally: Tally):
        super().__init__()
        self._start, self._tally = start, tally
        self._next_batch = 0
        # Made when it is needed: workers of a place that is moved at once would start for nothing.
        self._moving: grain.DatasetIterator | None = None

    def __next__(self) -> Batch:
        self._assert_not_closed()
        batch = next(self._begin())
        self._next_batch += 1
        self._tally.add(batch["corrupt"])
        return {name: values for name, values in batch.items() if name != "corrupt"}

    def get_state(self) -> dict[str, Any]:
        """The next batch's number, and the numbers of the corrupt images met so far."""
        return {"next_batch": self._next_batch, "corrupt": sorted(self._tally.numbers)}

    def set_state(self, state: dict[str, Any]) -> None:
        self._stop()
        self._next_batch = state["next_batch"]
        self._tally.numbers = set(state["corrupt"])

    def start_prefetch(self) -> None:
        self._begin().start_prefetch()

    def close(self) -> None:
        """Ends the worker processes, if there are any."""
        self._stop()
        super().close()

    def __str__(self) -> str:
        return f"Batches({json.dumps(self.get_state())})"

    def _begin(self) -> grain.DatasetIterator:
        if self._moving is None:
            self._moving = self._start(self._next_batch)
        return self._moving

    def _stop(self) -> None:
        if self._moving is not None:
            self._moving.close()
            self._moving = None
