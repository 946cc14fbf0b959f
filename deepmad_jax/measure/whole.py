"""Whole networks beside the sum of their rows: how far from it they are, and by what factor.

The factor is the median of measured over predicted time. It says what a compiler gains by fusing
rows, or a device loses between them; what is left of a network's own ratio is the error of taking
rows as additive. Ratios differ by a network's kind more than by chance: random networks are shallow
and wide, and deep designs of narrow layers lie apart from them. So the factor is that of designs.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepmad_jax.arch import Architecture, layer_table
from deepmad_jax.config import MeasureConfig
from deepmad_jax.design.designer import design_network
from deepmad_jax.design.program.evaluate import Point, evaluate, within_limits
from deepmad_jax.design.program.latency_file import read_grid
from deepmad_jax.design.program.latency_grid import Grid, grid_time
from deepmad_jax.design.program.lattice import repair, structural_violation, to_point
from deepmad_jax.design.program.limits import timed_as
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InfeasibleProblem
from deepmad_jax.measure import memory
from deepmad_jax.measure.clock import Stopwatch, Yardstick, time_in_turn, without_call
from deepmad_jax.measure.programs import empty_program, network_program

_DRAWS = 20_000


class Compared(NamedTuple):
    """One network: what its rows add up to, and what was measured.

    Attributes:
        name: of the architecture.
        predicted_ms, measured_ms: for one image; the prediction is without a factor.
        predicted_bytes: of maps at once, for the batch.
        compiled: what the compiler sets aside for them; None where it does not tell.
    """

    name: str
    predicted_ms: float
    measured_ms: float
    predicted_bytes: int
    compiled: memory.Compiled | None

    @property
    def ratio(self) -> float:
        """Measured over predicted time."""
        return self.measured_ms / self.predicted_ms


def networks_of(problem: Problem, count: int) -> tuple[Architecture, ...]:
    """Random networks of the space within its budgets, of many sizes, whatever their latency.

    The same ones each time.

    Raises:
        InfeasibleProblem: the budgets leave fewer than that among the networks drawn.
    """
    if not count:
        return ()
    prepared = prepare(problem.untimed)
    lattice, at, rng = prepared.lattice, prepared.layout, np.random.default_rng(0)
    # Each draw from a part of the space's ranges, small or large, or few would be within budgets.
    part = rng.uniform(size=(_DRAWS, 1)) * rng.uniform(size=(_DRAWS, len(lattice.low)))
    part[:, at.kernel] = rng.uniform(size=part[:, at.kernel].shape)
    u = np.floor(lattice.low + part * (lattice.high - lattice.low + 1))
    if problem.monotone:
        u[:, at.width] = np.maximum.accumulate(u[:, at.width], axis=1)
        u[:, at.width] = np.maximum(u[:, at.width], u[:, at.stem, None])
    points = to_point(lattice, repair(lattice, u))
    numbers = evaluate(prepared.form, prepared.data, points)
    fits = within_limits(prepared.form, prepared.data, numbers)
    fits &= structural_violation(lattice, prepared.data.monotone, points) == 0
    found = np.flatnonzero(fits)
    if len(found) < count:
        raise InfeasibleProblem(
            f"Of {_DRAWS:,} networks drawn from this space {len(found)} are within its budgets, "
            f"and {count} were to be timed: raise the budgets, lower max_width or max_depth, or "
            f"set measure.networks to {len(found)}."
        )
    by_size = found[np.argsort(numbers.macs[found], kind="stable")]
    chosen = by_size[np.linspace(0, len(by_size) - 1, count).round().astype(int)]
    return tuple(
        problem.architecture(f"random-{i}", Point(*(part[j] for part in points)))
        for i, j in enumerate(chosen)
    )


def designs_of(problem: Problem, path: Path, count: int) -> tuple[Architecture, ...]:
    """Networks designed by a latency table: without a limit, and within equal parts of its time.

    Fewer where the limits leave no network.

    Args:
        problem: the space, weights and budgets; its own latency limit is not asked for.
        path: of the table.
        count: networks.
    """
    problem, found = problem.untimed, list[Architecture]()
    for i in range(count):
        limit = math.inf
        if found:
            limit = (1.0 - i / (count + 1)) * predicted_ms(read_grid(str(path)), found[0])
        try:
            one = dataclasses.replace(problem, latency=limit, latency_table=str(path))
            found.append(design_network(one, f"design-{i}").architecture)
        except InfeasibleProblem:
            break
    return tuple(found)


def watches_of(networks: Sequence[Architecture], settings: MeasureConfig) -> list[Stopwatch]:
    """Each network compiled, and warm."""
    return [
        Stopwatch(network_program(arch, settings.batch, settings.dtype), settings.clock)
        for arch in networks
    ]


def predicted_ms(grid: Grid, arch: Architecture) -> float:
    """The sum over a network's rows, for one image."""
    rows = layer_table(arch)
    return float(sum(grid_time(grid, timed_as(row.layer), row.layer, row.repeat) for row in rows))


def compare(
    networks: Sequence[Architecture],
    watches: Sequence[Stopwatch],
    grid: Grid,
    settings: MeasureConfig,
    yardstick: Yardstick | None = None,
) -> list[Compared]:
    """Each network beside the sum of its rows."""
    return [
        Compared(
            arch.name,
            predicted_ms(grid, arch),
            milliseconds,
            memory.peak_bytes(arch, settings.batch, settings.dtype),
            memory.compiled_bytes(watch.program, arch, settings.batch, settings.dtype),
        )
        for arch, watch, milliseconds in zip(
            networks, watches, measured_ms(watches, settings, yardstick), strict=True
        )
    ]


def measured_ms(
    watches: Sequence[Stopwatch], settings: MeasureConfig, yardstick: Yardstick | None = None
) -> list[float]:
    """Of each program, for one image; what lacks of `runs` is timed now, in turn."""
    # A network has hundreds of arrays, and handing them over takes longer than calling a row.
    calls = [Stopwatch(empty_program(watch.program), settings.clock) for watch in watches]
    time_in_turn(calls, settings.runs, yardstick)
    done = min((len(watch.seconds) for watch in watches), default=0)
    time_in_turn(watches, max(settings.runs - done, 1), yardstick)
    return [
        1e3 * without_call(watch.median, call.median) / settings.batch
        for watch, call in zip(watches, calls, strict=True)
    ]


def factor_of(compared: Sequence[Compared]) -> float:
    """Measured over predicted time, the median of networks; 1 of none."""
    return statistics.median(one.ratio for one in compared) if compared else 1.0
