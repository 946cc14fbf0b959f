"""Times of compiled programs: warm, many runs, and what a call costs by itself taken off.

Programs that are compared are timed together, a run of each in turn, so that whatever else the
machine does falls on all of them. A run calls a program several times and waits once, as a device
is given work ahead of its results; the median of the runs counts. One call before each run is not
timed: what ran in between has left nothing of the program's arrays in the caches, which doubles the
time of a network's first call (DeepMAD-R50 of 60 M MACs on a CPU, 2026-11-30).

On a machine that others use too, hours of the day differ more than programs do. There each turn
begins with a run of one and the same program, the yardstick, and its times are multiplied by how
much faster that ran when the table was begun.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from deepmad_jax.measure.programs import Program

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""``config.measure.clock`` -> seconds."""

_SHORTEST_S, _MOST_CALLS = 1e-3, 50
"""A run lasts about that long, so that the clock's own steps do not show."""

_LEAST_SHARE = 0.05
"""Of a time that is left when a call's own cost is taken off."""


class Stopwatch:
    """Runs of one program so far, seconds a call."""

    def __init__(self, program: Program, clock: str):
        self.program, self.now = program, CLOCKS[clock]
        self.seconds: list[float] = []
        jax.block_until_ready(program())
        once = self._run(1)
        self.calls = min(max(math.ceil(_SHORTEST_S / max(once, 1e-9)), 1), _MOST_CALLS)

    def run(self, scale: float = 1.0) -> float:
        """Times one more run; returns its seconds a call, and keeps them times ``scale``."""
        jax.block_until_ready(self.program())
        seconds = self._run(self.calls)
        self.seconds.append(seconds * scale)
        return seconds

    @property
    def median(self) -> float:
        """Seconds a call, the median of the runs."""
        return statistics.median(self.seconds)

    def _run(self, calls: int) -> float:
        start = self.now()
        for _ in range(calls):
            result = self.program()
        jax.block_until_ready(result)
        return (self.now() - start) / calls


class Yardstick(NamedTuple):
    """A program to compare with, and the seconds a call that it took when the table was begun."""

    watch: Stopwatch
    unit: float


def time_in_turn(
    watches: Sequence[Stopwatch], runs: int, yardstick: Yardstick | None = None
) -> None:
    """As many runs of each, one of each at a time."""
    for _ in range(runs):
        scale = 1.0 if yardstick is None else yardstick.unit / yardstick.watch.run()
        for watch in watches:
            watch.run(scale)


def without_call(seconds: float, call: float) -> float:
    """A time less what a call costs by itself; above 0."""
    return max(seconds - call, _LEAST_SHARE * seconds, 1e-9)
