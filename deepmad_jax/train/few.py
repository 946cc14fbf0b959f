"""A few batches over and over: whether a network can learn them is a first test of everything."""

from typing import Any

import grain
import numpy as np


class FirstBatches(grain.DatasetIterator[dict[str, np.ndarray]]):
    """The first batches of an iterator again and again, just as they came; they stay in memory.

    Args:
        batches: at its beginning.
        count: how many of them.
    """

    def __init__(self, batches: grain.DatasetIterator, count: int):
        super().__init__()
        self._batches, self._count = batches, count
        self._kept: list[dict[str, np.ndarray]] = []
        self._next_batch = 0

    def __next__(self) -> dict[str, np.ndarray]:
        self._assert_not_closed()
        place = self._next_batch % self._count
        while len(self._kept) <= place:
            self._kept.append(next(self._batches))
        self._next_batch += 1
        return self._kept[place]

    def get_state(self) -> dict[str, Any]:
        return {"next_batch": self._next_batch}

    def set_state(self, state: dict[str, Any]) -> None:
        self._next_batch = state["next_batch"]

    def start_prefetch(self) -> None:
        self._batches.start_prefetch()

    def close(self) -> None:
        """Closes the iterator that they came from."""
        self._batches.close()
        super().close()
