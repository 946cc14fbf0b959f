"""The file of a measured grid of latency, and how it becomes the arrays of `latency_grid`.

A file has a line for each row that was timed (`COLUMNS`): what kind of layer, its kernel (of an
attention, channels a head), stride and the pixels a side that it is given, its channels in and out,
batch, dtype and device of the run, and ``ms``, milliseconds for one image. ``network`` is a kind
too: its ``ms`` is the factor by which whole networks take longer than the sum of their rows
(`deepmad_jax.measure`), and multiplies all.
``yardstick`` is no row of a network: what a measurement on a busy machine is held against.
"""

import csv
import functools
import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog, nnls

from deepmad_jax.arch.cost import layer_macs
from deepmad_jax.design.program.latency_grid import (
    GRID_KINDS,
    Grid,
    cell,
    code_of,
    layer_at,
    moved,
)
from deepmad_jax.errors import InvalidConfig, did_you_mean

COLUMNS = (
    *("kind", "kernel", "stride", "pixels", "c_in", "c_out"),
    *("batch", "dtype", "device", "ms"),
)
"""Header of a file of measured times."""

NETWORK = "network"
"""Kind of the line that holds the factor."""

YARDSTICK = "yardstick"
"""Kind of the line that holds a yardstick's time."""


class Timed(NamedTuple):
    """A line of a file: one row that was timed, or, of kind ``network``, the factor."""

    kind: str
    kernel: int
    stride: int
    pixels: int
    c_in: int
    c_out: int
    batch: int
    dtype: str
    device: str
    ms: float

    @property
    def place(self) -> tuple[str, int, int, int]:
        return self.kind, self.kernel, self.stride, self.pixels


def read_lines(path: str | Path) -> list[Timed]:
    """The lines of a file of measured times; raises `InvalidConfig` naming the line at fault."""
    try:
        with Path(path).open(newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"design.latency_table {path!r} cannot be read: {error}.") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise InvalidConfig(
            f"{path}, line 1: the header of measured times is {','.join(COLUMNS)}, but this is "
            f"{','.join(lines[0]) if lines else 'an empty file'!r}."
        )
    found = [_timed(path, number, cells) for number, cells in enumerate(lines[1:], 2) if cells]
    for field in ("batch", "dtype", "device"):
        values = sorted({str(getattr(line, field)) for line in found})
        if len(values) > 1:
            raise InvalidConfig(
                f"{path} holds times of {field} {' and '.join(values)}: one table is of one "
                f"{field}; measure the other into a file of its own."
            )
    return found


def _timed(path: str | Path, number: int, cells: list[str]) -> Timed:
    kinds = (*GRID_KINDS, NETWORK, YARDSTICK)
    if cells[0] not in kinds:
        raise InvalidConfig(
            f"{path}, line {number}: no layer is called {cells[0]!r}; "
            f"{did_you_mean(cells[0], kinds)}"
        )
    try:
        kernel, stride, pixels, c_in, c_out, batch = map(int, cells[1:7])
        dtype, device, ms = cells[7:]
        place = (cells[0], kernel, stride, pixels)
        line = Timed(*place, c_in, c_out, batch, dtype, device, float(ms))
    except ValueError:
        line = None
    if line is None or not (math.isfinite(line.ms) and line.ms > 0):
        raise InvalidConfig(
            f"{path}, line {number}: expected {','.join(COLUMNS)}, whole numbers but for the last "
            f"and that above 0, but got {','.join(cells)!r}."
        )
    return line


def grid_of(lines: Iterable[Timed]) -> Grid:
    """The arrays; a later line of the same row stands for an earlier one."""
    by_place: dict[tuple[str, int, int, int], dict[tuple[int, int], float]] = {}
    factor = 1.0
    for line in lines:
        if line.kind == NETWORK:
            factor = line.ms
        elif line.kind != YARDSTICK:
            by_place.setdefault(line.place, {})[line.c_in, line.c_out] = line.ms
    if not by_place:
        raise InvalidConfig("The latency table has no row that was timed: run deepmad measure.")
    every = [point for points in by_place.values() for point in points]
    axes = [_axis(point[side] for point in every) for side in (0, 1)]
    places, near, below = _linear(by_place)
    coded = sorted((code_of(GRID_KINDS.index(p[0]), *p[1:]), p) for p in by_place)
    power, tables = zip(*(_table(p[0], by_place[p], axes) for _, p in coded), strict=True)
    return Grid(
        places=places,
        near=factor * near,
        below=factor * below,
        codes=np.array([code for code, _ in coded], dtype=np.int64),
        power=np.array(power, dtype=np.float64),
        c_in=axes[0],
        c_out=axes[1],
        ms=factor * np.stack(tables),
    )


def _axis(values: Iterable[int]) -> np.ndarray:
    """Ascending; two at least."""
    found = sorted(set(values))
    return np.array(found if len(found) > 1 else [*found, 2 * found[0]], dtype=np.float64)


def _table(
    kind: str, points: dict[tuple[int, int], float], axes: list[np.ndarray]
) -> tuple[int, np.ndarray]:
    """The power (see `Grid`) and the times of one place at every point of the whole grid."""
    if all(c_in == c_out for c_in, c_out in points):
        power = 2 if kind in ("conv", "dense") else 1
        own = np.array(sorted(c for c, _ in points), dtype=np.float64)
        times = np.array([points[int(c), int(c)] for c in own])
        along = np.interp(axes[0], own, times) * np.maximum(axes[0] / own[-1], 1.0) ** power
        return power, np.repeat(along[:, None], len(axes[1]), axis=1)
    sides = [sorted({point[side] for point in points}) for side in (0, 1)]
    filled = _filled(points, *sides)
    (i, across, over_in), (j, down, over_out) = (
        cell(_axis(side), axis) for side, axis in zip(sides, axes, strict=True)
    )
    # Where a side has one count the cell has no other end.
    far = [np.minimum(k + 1, len(side) - 1) for k, side in ((i, sides[0]), (j, sides[1]))]
    across, down = across[:, None], down[None]
    low = filled[np.ix_(i, j)] * (1 - down) + filled[np.ix_(i, far[1])] * down
    high = filled[np.ix_(far[0], j)] * (1 - down) + filled[np.ix_(far[0], far[1])] * down
    # `_axis` gave a side of one count a second, twice as large, where the time is the MACs'.
    beyond = [
        np.maximum(axis / side[-1], 1.0) if len(side) == 1 else over
        for axis, side, over in zip(axes, sides, (over_in, over_out), strict=True)
    ]
    return 0, (low * (1 - across) + high * across) * np.outer(*beyond)


def _filled(points: dict[tuple[int, int], float], ins: list[int], outs: list[int]) -> np.ndarray:
    """Times at every pair: those that are missing as the module's first lines say."""
    times = np.full((len(ins), len(outs)), np.nan)
    for (c_in, c_out), ms in points.items():
        times[ins.index(c_in), outs.index(c_out)] = ms
    pairs = list(itertools.product(range(len(ins)), range(len(outs))))
    known = ~np.isnan(times)
    for i, j in pairs:
        if not known[: i + 1, : j + 1].any():  # nothing smaller: as long as the next larger one
            larger = known[i:, j:]
            times[i, j] = times[i:, j:][larger].min() if larger.any() else times[known].min()
    for i, j in pairs:
        if np.isnan(times[i, j]):
            before = [times[i - 1, j] * ins[i] / ins[i - 1]] if i else []
            before += [times[i, j - 1] * outs[j] / outs[j - 1]] if j else []
            times[i, j] = np.nanmin(before)
    return times


def _linear(
    by_place: dict[tuple[str, int, int, int], dict[tuple[int, int], float]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Grid.places`, ``near`` and ``below``."""
    together: dict[tuple[int, int, int], list[tuple[float, float, float, float]]] = {}
    for (kind, kernel, stride, pixels), points in by_place.items():
        for (c_in, c_out), ms in points.items():
            layer = layer_at((kind, kernel, stride, pixels), c_in, c_out)
            row = (1.0, layer_macs(layer) / 1e9, moved(layer) / 1e6, ms)
            together.setdefault((GRID_KINDS.index(kind), stride, pixels), []).append(row)
    fits = [_fit(np.array(rows)) for rows in together.values()]
    near, below = (np.stack(part) for part in zip(*fits, strict=True))
    return np.array(list(together), dtype=np.float64), near, below


def _fit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative coefficients: nearest in the ratio, and the greatest that exceed no time."""
    terms = rows[:, :3] / rows[:, 3:]
    sizes = np.maximum(terms.max(0), 1e-300)
    scaled = terms / sizes
    near, _ = nnls(scaled, np.ones(len(rows)))
    found = linprog(-scaled.sum(0), A_ub=scaled, b_ub=np.ones(len(rows)), bounds=(0, None))
    # The solver may be off by its tolerance: what exceeds a time by it is taken back.
    over = max(float((scaled @ found.x).max()), 1.0)
    return near / sizes, found.x / over / sizes


@functools.cache
def _read(path: str, modified_ns: int) -> Grid:
    del modified_ns  # part of the cache's key: a measurement goes on in the same file
    return grid_of(read_lines(path))


def read_grid(path: str) -> Grid:
    """The grid in a file; raises `InvalidConfig` naming the line at fault."""
    return _read(path, Path(path).stat().st_mtime_ns)


def is_grid(path: str) -> bool:
    """Whether a file holds measured times, by its first line."""
    try:
        with Path(path).open() as file:
            return tuple(file.readline().strip().split(",")) == COLUMNS
    except (OSError, UnicodeDecodeError):
        return False  # `limits.read_latency` says what is wrong
