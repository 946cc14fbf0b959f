"""A file of measured times for all rows of a space, made a few rows at a time, and gone on with.

Rows are appended as they are timed: an interrupted measurement loses those of a minute, and the
next one goes on behind them. The networks that are timed whole get their runs between the rows, so
that both sides of the comparison see the same machine.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import jax

from deepmad_jax.config import MeasureConfig
from deepmad_jax.design.program.latency_file import COLUMNS, NETWORK, YARDSTICK, grid_of, read_lines
from deepmad_jax.design.program.latency_grid import Grid
from deepmad_jax.errors import UserError
from deepmad_jax.measure.clock import Stopwatch, Yardstick, time_in_turn, without_call
from deepmad_jax.measure.points import Point
from deepmad_jax.measure.programs import empty_program, row_program

_TOGETHER = 16
"""Rows that are compiled, then timed in turn."""

_YARDSTICK, _UNIT_RUNS = Point("conv", 3, 1, 16, 64, 64, "relu"), 40


def device_name() -> str:
    """What the runs are made on, as a file of times says it."""
    return jax.devices()[0].device_kind.replace(",", " ")


def measure_rows(
    path: Path,
    points: Sequence[Point],
    settings: MeasureConfig,
    beside: Sequence[Stopwatch] = (),
    yardstick: Yardstick | None = None,
) -> int:
    """Times the points that the file does not hold; returns how many those were.

    Args:
        path: of the file; it and its folder are made.
        points: see `points.points_of`.
        settings: of the runs.
        beside: programs that get a run each time a few rows were timed.
        yardstick: see `yardstick_of`.
    Raises:
        UserError: the file holds times of another batch, dtype or device, or cannot be written.
    """
    known = _known(path, settings)
    todo = [point for point in points if point.row not in known]
    empty = Stopwatch(empty_program(), settings.clock)
    for start in range(0, len(todo), _TOGETHER):
        chunk = todo[start : start + _TOGETHER]
        watches = [
            Stopwatch(row_program(point, settings.batch, settings.dtype), settings.clock)
            for point in chunk
        ]
        empty.seconds.clear()
        time_in_turn([empty, *watches], settings.runs, yardstick)
        time_in_turn(beside, 1, yardstick)
        lines = [
            _line(point, without_call(watch.median, empty.median), settings)
            for point, watch in zip(chunk, watches, strict=True)
        ]
        _append(path, lines)
        if start // _TOGETHER % 10 == 0 or start + _TOGETHER >= len(todo):
            print(f"{start + len(chunk):,} of {len(todo):,} rows timed.", flush=True)
        jax.clear_caches()
    return len(todo)


def yardstick_of(path: Path, settings: MeasureConfig) -> Yardstick | None:
    """The yardstick, where ``settings.steady`` asks for one.

    Its unit is a line of the file; a file without one is given the least of some runs now.
    """
    if not settings.steady:
        return None
    watch = Stopwatch(row_program(_YARDSTICK, settings.batch, settings.dtype), settings.clock)
    lines = read_lines(path) if path.exists() else []
    units = [1e-3 * line.ms for line in lines if line.kind == YARDSTICK]
    if not units:
        time_in_turn([watch], _UNIT_RUNS)
        units = [min(watch.seconds)]
        cells = (YARDSTICK, *_YARDSTICK.row[1:], settings.batch, settings.dtype, device_name())
        _append(path, [(*cells, f"{1e3 * units[0]:.6g}")])
    return Yardstick(watch, units[0])


def write_factor(path: Path, factor: float, settings: MeasureConfig) -> None:
    """Adds the factor of whole networks; the last one in a file counts."""
    place = Point(NETWORK, 0, 0, 0, 0, 0)
    _append(path, [(*place.row, settings.batch, settings.dtype, device_name(), f"{factor:.4f}")])


def rows_of(path: Path) -> Grid:
    """The file's grid without the factor of whole networks."""
    return grid_of(line for line in read_lines(path) if line.kind != NETWORK)


def _known(path: Path, settings: MeasureConfig) -> set[tuple[object, ...]]:
    """Rows that the file holds."""
    if not path.exists():
        return set()
    lines = read_lines(path)
    here = (settings.batch, settings.dtype, device_name())
    for line in lines:
        if (line.batch, line.dtype, line.device) != here:
            raise UserError(
                f"{path} holds times of batch {line.batch}, {line.dtype} on {line.device!r}, but "
                f"this is batch {here[0]}, {here[1]} on {here[2]!r}: name another latency_table."
            )
    return {(*line.place, line.c_in, line.c_out) for line in lines}


def _line(point: Point, seconds: float, settings: MeasureConfig) -> tuple[object, ...]:
    ms = 1e3 * seconds / settings.batch
    return (*point.row, settings.batch, settings.dtype, device_name(), f"{ms:.6g}")


def _append(path: Path, lines: Sequence[Sequence[object]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(COLUMNS)
            writer.writerows(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"Cannot write the latency table {path}: {error.strerror}. Name another one in "
            "design.latency_table."
        ) from error
