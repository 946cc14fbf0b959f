"""A trace of a few training steps, for TensorBoard's profiler and Perfetto."""

from pathlib import Path

import jax

FIRST_STEP, STEPS = 3, 5
"""Counted from the start of the process: compilation and the first waits are left out."""


class Trace:
    """Starts and stops the profiler as the steps go by. Use as a context manager.

    Args:
        directory: of the trace; None: there is none.
    """

    def __init__(self, directory: Path | None):
        self._directory = directory
        self._done = 0
        self._running = False

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def before_step(self) -> None:
        """To be called as a step begins."""
        self._done += 1
        if self._directory is not None and self._done == FIRST_STEP:
            jax.profiler.start_trace(self._directory)
            self._running = True

    def after_step(self, metrics: object) -> bool:
        """To be called when a step was handed to the device; whether the trace is now written."""
        if self._running and self._done == FIRST_STEP + STEPS - 1:
            jax.block_until_ready(metrics)
            self._stop()
            return True
        return False

    def _stop(self) -> None:
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
