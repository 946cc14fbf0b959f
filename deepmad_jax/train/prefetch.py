"""Batches on the device before they are asked for, and how long one had to be waited for.

A thread reads and sends ahead; the place that a checkpoint keeps is that of the last batch handed
out, not of the last one read.
"""

import contextlib
import json
import queue
import threading
import time
from typing import Any

import grain
import jax
from jax.sharding import Mesh

from deepmad_jax.train.mesh import to_device


class Prefetch:
    """An iterator over device batches. Use as a context manager: leaving it ends the thread.

    Args:
        batches: this process's part of every batch; not to be touched while this is in use.
        mesh: see `to_device`.
        ahead: batches that lie on the device in waiting, at least 1.
    """

    def __init__(self, batches: grain.DatasetIterator, mesh: Mesh, ahead: int):
        self._batches, self._mesh = batches, mesh
        self._place = batches.get_state()
        self._ready: queue.Queue[Any] = queue.Queue(ahead)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._read, name="prefetch", daemon=True)
        self.waited_seconds = 0.0

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._leaving.set()
        while self._thread.is_alive():
            # The thread may be waiting for room.
            with contextlib.suppress(queue.Empty):
                self._ready.get(timeout=0.05)
        self._thread.join()

    def __next__(self) -> dict[str, jax.Array]:
        """The next batch; `waited_seconds` grows by the time it took to come."""
        began = time.monotonic()
        batch, place, error = self._ready.get()
        self.waited_seconds += time.monotonic() - began
        if error is not None:
            raise error
        self._place = place
        return batch

    def get_state(self) -> bytes:
        """The place after the last batch handed out, as Grain's checkpoint handler takes it."""
        return json.dumps(self._place).encode()

    def _read(self) -> None:
        try:
            while not self._leaving.is_set():
                batch = next(self._batches)
                self._ready.put((to_device(self._mesh, batch), self._batches.get_state(), None))
        except BaseException as error:  # handed to whoever asks for the batch
            self._ready.put((None, None, error))
