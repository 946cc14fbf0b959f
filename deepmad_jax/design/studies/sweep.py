"""Many budgets at once: a grid or a random set of them, solved over all cores, resumable.

Each design is an independent CPU job of a fraction of a second, so the cores get one process each,
and every process compiles once for all budgets of the same form. (Batching the relaxed solves under
vmap was measured slower than solving them in turn: a batch runs every branch of the line search for
every problem.) Rows are written as they come; a sweep that is started again skips what is there.
Several processes, on several hosts, may each do a part, into a file of its own.
"""

import contextlib
import csv
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.rows import is_main_path
from deepmad_jax.cores import available_cores
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.studies.settings import Part, Sweep
from deepmad_jax.design.studies.workers import one_core_each
from deepmad_jax.errors import InfeasibleProblem

KEYS = ("macs", "params", "rho", "resolution")
"""What a sweep may vary."""

COLUMNS = (
    "macs_budget", "params_budget", "rho_budget", "resolution", "feasible", "objective", "entropy",
    "last_level_entropy", "depth_penalty", "rho", "params", "macs", "layers", "blocks",
    "mean_width", "relaxed_objective", "seconds", "architecture", "reason",
)  # fmt: skip
"""Columns of the table; entropies in nats, mean_width the geometric mean main-path fan-in."""

Row = dict[str, Any]


def problems_of(base: Problem, sweep: Sweep) -> list[Problem]:
    """The problems a sweep asks for: ``base`` with each combination of budgets in its place.

    Args:
        base: gives whatever the sweep does not vary, and the seed of random budgets.
        sweep: lists span a grid; with ``random``, they are the ends of ranges, drawn evenly in the
            logarithm.
    """
    varied = {key: getattr(sweep, key) for key in KEYS if getattr(sweep, key)}
    if not sweep.random:
        grid = itertools.product(*varied.values())
        return [_with(base, dict(zip(varied, values, strict=True))) for values in grid]
    rng = np.random.default_rng(base.seed)
    drawn = {
        key: np.exp(rng.uniform(np.log(ends[0]), np.log(ends[-1]), sweep.random))
        for key, ends in varied.items()
    }
    return [
        _with(base, {key: float(values[i]) for key, values in drawn.items()})
        for i in range(sweep.random)
    ]


def run_sweep(
    problems: list[Problem],
    path: Path,
    workers: int = 0,
    solve: Callable[[Problem], Row] | None = None,
    known: Mapping[str, Row] | None = None,
) -> list[Row]:
    """The row of every problem, in the order of ``problems``.

    Rows are appended to ``path`` as they are solved, one JSON object a line; those already there
    are not solved again, so an interrupted sweep loses nothing.

    Args:
        problems: may repeat.
        path: the JSON lines file.
        workers: processes; 0 is one for each core, 1 solves in this process.
        solve: from a problem to its row; default `solve_row`.
        known: rows that are elsewhere, by `key_of` their problems.
    """
    solve = solve or solve_row
    _drop_half_a_line(path)
    rows = dict(known or {}) | dict(_read(path))
    todo = {key_of(problem): problem for problem in problems}
    todo = {key: problem for key, problem in todo.items() if key not in rows}
    workers = min(workers or len(available_cores()), max(len(todo), 1))
    with (
        path.open("a") as file,
        tqdm(total=len(todo), desc="designs", unit="design", disable=None) as progress,
    ):
        for key, row in _solved(list(todo.items()), workers, solve):
            rows[key] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            progress.update()
    return [rows[key_of(problem)] for problem in problems]


def rows_file(part: Part, directory: Path) -> Path:
    """Where the rows of a part of a sweep go."""
    name = "sweep" if part.count == 1 else f"sweep-{part.index}-of-{part.count}"
    return directory / f"{name}.jsonl"


def read_rows(directory: Path) -> dict[str, Row]:
    """The rows that all parts have written so far, by `key_of` their problems."""
    return dict(item for path in sorted(directory.glob("sweep*.jsonl")) for item in _read(path))


def solve_row(problem: Problem) -> Row:
    """The sweep's row of one problem; infeasible ones say why in ``reason``."""
    from deepmad_jax.design.designer import design_network
    from deepmad_jax.design.search.effort import QUICK

    row: Row = dict.fromkeys(COLUMNS)
    row |= {f"{name}_budget": _finite(getattr(problem, name)) for name in KEYS[:3]}
    row |= {"resolution": problem.resolution, "feasible": False}
    try:
        design = design_network(problem, effort=QUICK)
    except InfeasibleProblem as error:
        return row | {"reason": str(error)}
    numbers, arch = design.numbers, design.architecture
    levels = levels_of(arch)
    convs = [row for row in layer_table(arch) if is_main_path(row)]
    return row | {
        "feasible": True,
        "objective": float(numbers.objective),
        "entropy": float(numbers.entropy),
        "last_level_entropy": float(numbers.entropy_per_level[-1]),
        "depth_penalty": float(numbers.penalty),
        "rho": float(numbers.rho),
        "params": int(numbers.params),
        "macs": int(numbers.macs),
        "layers": sum(row.repeat for row in convs),
        "blocks": sum(stage.depth for stage in arch.stages),
        "mean_width": float(np.exp(levels[-1]["sum_log_width"] / levels[-1]["layers"])),
        "relaxed_objective": _finite(design.solution.objective),
        "seconds": design.seconds,
        "architecture": json.dumps(arch.to_dict()),
    }


def key_of(problem: Problem) -> str:
    """What tells a row of one sweep from another: every field of the problem."""
    return json.dumps(dataclasses.asdict(problem), sort_keys=True)


def write_tables(rows: list[Row], directory: Path) -> list[Path]:
    """Writes ``sweep.csv`` and, where pyarrow is installed, ``sweep.parquet``."""
    paths = [directory / "sweep.csv"]
    with paths[0].open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return paths
    paths.append(directory / "sweep.parquet")
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    pyarrow.parquet.write_table(pyarrow.table(columns), paths[1])
    return paths


def _solved(
    todo: list[tuple[str, Problem]], workers: int, solve: Callable[[Problem], Row]
) -> Iterator[tuple[str, Row]]:
    if workers <= 1:
        for key, problem in todo:
            yield key, {"key": key, **solve(problem)}
        return
    with one_core_each(workers) as pool:
        futures = {pool.submit(solve, problem): key for key, problem in todo}
        for future in as_completed(futures):
            yield futures[future], {"key": futures[future], **future.result()}


def _drop_half_a_line(path: Path) -> None:
    """What a crash left at the end of the file."""
    text = path.read_bytes() if path.exists() else b""
    if text and not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])


def _read(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file, to which another process may be writing; what is no row is left out."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            yield row["key"], row


def _with(base: Problem, fields: dict[str, Any]) -> Problem:
    if "resolution" in fields:
        fields["resolution"] = round(fields["resolution"])
    return dataclasses.replace(base, **fields)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
