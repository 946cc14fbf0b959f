"""Further limits a user may set, each a few lines over the layer table.

A limit here is a function of a network's rows that gives one or more numbers, none of which may
exceed the user's limit. To add one: write the function, name it in `MEASURES`, and give `Problem` a
field of that name, listed in `problem.EXTRAS`. The relaxation, the integer search, the checks and
the tables take it from there. A limit that is not set costs nothing: it is left out of the compiled
program.

The certificate and the relaxed programs at fixed depths read the same functions with symbols in
place of numbers (`posynomials`), so what they give must be sums of products.
"""

import csv
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepmad_jax.arch.cost import layer_macs
from deepmad_jax.arch.rows import Layer, Row, is_main_path
from deepmad_jax.design.program.arrays import Array, namespace, positive
from deepmad_jax.design.program.latency_file import is_grid, read_grid
from deepmad_jax.design.program.latency_grid import Grid, grid_time, moved
from deepmad_jax.errors import InvalidConfig, did_you_mean

TIMED = (
    *("conv", "depthwise", "dense", "norm", "act", "pool", "mean", "scale", "add"),
    *("layer_norm", "layer_scale", "attention"),
)
"""Layers a latency table may time; those it leaves out cost nothing."""

COLUMNS = ("layer", "fixed_ms", "ms_per_gmac", "ms_per_melement")
"""Header of a latency table."""


class Sections(NamedTuple):
    """Rows of a network, or of a batch of them: numbers of shape (...), of stages (..., S)."""

    stem: list[Row]
    stages: list[Row]
    head: list[Row]


def layers(rows: Sections, width: Array, table: Array) -> list[Array]:
    """Main-path convs of the whole network."""
    del table

    def count(row: Row) -> Array:
        return row.repeat * is_main_path(row)

    return [_total(rows, width, count)[..., None]]


def activations(rows: Sections, width: Array, table: Array) -> list[Array]:
    """Elements that a conv reads and writes for one image: the greatest is the peak memory.

    Times the bytes of an element. A tensor that a shortcut keeps meanwhile is not counted.
    """
    del table
    of_stages = [peak + 0.0 * width for peak in _peaks(rows.stages)]
    once = [peak + 0.0 * width[..., 0] for peak in _peaks([*rows.stem, *rows.head])]
    return [*of_stages, *(peak[..., None] for peak in once)]


def latency(rows: Sections, width: Array, table: Array) -> list[Array]:
    """Milliseconds for one image: by a measured grid, or a time a layer, a MAC and an element."""

    def time(row: Row) -> Array:
        kind = timed_as(row.layer)
        if isinstance(table, Grid):
            return grid_time(table, kind, row.layer, row.repeat)
        if kind is None:
            return 0.0
        fixed, per_gmac, per_melement = table[TIMED.index(kind)]
        macs, elements = layer_macs(row.layer), moved(row.layer)
        return row.repeat * (fixed + per_gmac * macs / 1e9 + per_melement * elements / 1e6)

    return [_total(rows, width, time)[..., None]]


def width_ratio(rows: Sections, width: Array, table: Array) -> list[Array]:
    """Width of each stage over that of the stage before; 1 for a single stage."""
    del rows, table
    return [width[..., 1:] / width[..., :-1], 0.0 * width[..., :1] + 1.0]


MEASURES: dict[str, Callable[[Sections, Array, Array], list[Array]]] = {
    "layers": layers,
    "activations": activations,
    "latency": latency,
    "width_ratio": width_ratio,
}
"""Field of `Problem` that holds the limit -> what it limits."""

COUNTS = ("layers", "activations")
"""Those that are whole numbers."""

UNITS = {
    "layers": "main-path layers",
    "activations": "elements at the peak",
    "latency": "ms of latency",
    "width_ratio": "times the width of the stage before",
}


def measure(name: str, rows: Sections, width: Array, table: Array) -> Array:
    """All numbers that the limit ``name`` applies to, shape (..., count).

    Args:
        name: of `MEASURES`.
        rows: of the networks.
        width: of the stages, (..., S).
        table: see `read_latency`.
    """
    return namespace(width, table).concatenate(MEASURES[name](rows, width, table), axis=-1)


def read_latency(path: str) -> np.ndarray | Grid:
    """Milliseconds fixed, a giga-MAC and a mega-element, for each of `TIMED`, (kinds, 3); or the
    grid of a file of measured times (`latency_file`).

    Args:
        path: a CSV file with the header `COLUMNS` and a line for each kind of layer that takes
            time; "" for a table of zeros. Negative times are refused: the search takes it that
            more layers never take less time.
    Raises:
        InvalidConfig: the file is missing or malformed; the message names the line.
    """
    return read_grid(path) if is_grid(path) else _read_kinds(path)


@cache
def _read_kinds(path: str) -> np.ndarray:
    table = np.zeros((len(TIMED), 3))
    if not path:
        return table
    try:
        with Path(path).open(newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"design.latency_table {path!r} cannot be read: {error}.") from error
    if not lines or tuple(cell.strip() for cell in lines[0]) != COLUMNS:
        raise InvalidConfig(
            f"{path}, line 1: the header of a latency table is {','.join(COLUMNS)}, but this is "
            f"{','.join(lines[0]) if lines else 'an empty file'!r}."
        )
    for number, cells in enumerate(lines[1:], 2):
        if not cells:
            continue
        kind = cells[0].strip()
        if kind not in TIMED:
            raise InvalidConfig(
                f"{path}, line {number}: no layer is called {kind!r}; {did_you_mean(kind, TIMED)}"
            )
        try:
            times = np.array([float(cell) for cell in cells[1:]])
        except ValueError:
            times = np.array([])
        if times.shape != (3,) or not (np.isfinite(times) & (times >= 0)).all():
            raise InvalidConfig(
                f"{path}, line {number}: expected three times in ms, none negative, after "
                f"{kind!r}, but got {','.join(cells[1:])!r}."
            )
        table[TIMED.index(kind)] = times
    return table


def _total(rows: Sections, width: Array, cost: Callable[[Row], Array]) -> Array:
    """Sum of a cost over all rows, shape (...)."""
    stages = sum(cost(row) + 0.0 * width for row in rows.stages).sum(-1)
    return stages + sum(cost(row) for row in (*rows.stem, *rows.head))


def _peaks(rows: list[Row]) -> list[Array]:
    """Elements that each conv of the rows moves, 0 where it is not there."""
    convs = [row for row in rows if row.layer.kind == "conv"]
    return [moved(row.layer) * positive(row.repeat) for row in convs]


def timed_as(layer: Layer) -> str | None:
    """The kind, among `TIMED`, by which a layer is timed."""
    if layer.kind == "conv" and _is_depthwise(layer):
        return "depthwise"
    return layer.kind if layer.kind in TIMED else None


def _is_depthwise(layer: Layer) -> bool:
    if isinstance(layer.groups, int):  # a stem that reads one channel is no depthwise conv
        return layer.groups > 1 and layer.groups == layer.c_in
    return layer.groups is layer.c_in  # numbers of many networks: one and the same array
