"""The tables of a study: every training, and every run's mean and spread over its seeds.

``study.csv`` and ``study.parquet`` have a row for each training that is done, ``study_runs.csv``
one for each run, ``study.html`` both.
"""

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmad_jax.paths import write_whole
from deepmad_jax.report.spread import LEVEL, Spread, spread
from deepmad_jax.report.table import Table, printable, to_html
from deepmad_jax.report.template import write_page

Row = Mapping[str, Any]

RUN_COLUMNS = ("run", "rho", "entropy", "layers", "params", "macs", "trained", "diverged")
SPREAD_COLUMNS = ("mean", "deviation", "low", "high")


def write_study(
    rows: Sequence[Row], measure: str, directory: Path, name: str, expected: int
) -> None:
    """Writes the four files.

    Args:
        rows: of the trainings that are done, with ``run``, ``seed``, ``reason`` and, where they
            came to an end, ``measure``.
        measure: what a run is judged by, such as ``top1``; a share.
        directory: where to.
        name: of the study.
        expected: trainings in all.
    """
    write_whole(directory / "study.csv", _csv(rows, _columns(rows)))
    _write_parquet(rows, directory / "study.parquet")
    runs = by_run(rows, measure)
    columns = (*RUN_COLUMNS, *(f"{measure}_{name}" for name in SPREAD_COLUMNS))
    write_whole(directory / "study_runs.csv", _csv(runs, columns))
    body = f"{to_html(runs_table(runs, measure))}\n{to_html(_trainings_table(rows, measure))}"
    lead = f"{len(rows)} of {expected} trainings are done."
    write_page(directory / "study.html", f"Study {name}", lead, body)


def by_run(rows: Sequence[Row], measure: str) -> list[dict[str, Any]]:
    """A row for each run: its network, how many seeds, the spread of ``measure`` over them."""
    found = []
    for run in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == run]
        values = values_of(mine, measure)
        line = {column: mine[0].get(column) for column in RUN_COLUMNS[:-2]}
        line |= {"trained": len(values), "diverged": sum(bool(row.get("reason")) for row in mine)}
        if values:
            over = spread(values)
            half = over.half
            ends = (None, None) if half is None else (over.mean - half, over.mean + half)
            numbers = (over.mean, over.deviation, *ends)
            names = (f"{measure}_{name}" for name in SPREAD_COLUMNS)
            line |= dict(zip(names, numbers, strict=True)) | {"spread": over}
        found.append(line)
    return found


def values_of(rows: Sequence[Row], measure: str) -> list[float]:
    """What the trainings came to, of those that came to an end."""
    return [float(row[measure]) for row in rows if row.get(measure) is not None]


def runs_table(runs: Sequence[Row], measure: str) -> Table:
    """The runs of `by_run` for a reader."""
    cells = []
    for run in runs:
        over: Spread | None = run.get("spread")
        cells.append(
            (
                printable(str(run["run"]), 40),
                _number(run["params"], ",.0f"),
                _number(run["macs"], ",.0f"),
                _number(run["rho"], ".3f"),
                _number(run["entropy"], ",.0f"),
                "diverged" if over is None else over.percent(),
            )
        )
    note = (
        f"{measure} in percent: mean over the seeds ± half of its {LEVEL:.0%} interval, by Student."
    )
    lost = sum(run["diverged"] for run in runs)
    note += f"\n{lost} trainings diverged and are in no mean." if lost else ""
    header = ("", "params", "MACs", "rho", "entropy", measure)
    return Table("Runs", header, tuple(cells), "lrrrrr", note=note)


def _trainings_table(rows: Sequence[Row], measure: str) -> Table:
    cells = tuple(
        (
            printable(str(row["run"]), 40),
            str(row.get("seed", "")),
            _number(row.get(measure), ".2%").replace("%", " %"),
            printable(str(row.get("reason") or ""), 100),
        )
        for row in rows
    )
    return Table("Trainings", ("", "seed", measure, ""), cells, "lrrl")


def _columns(rows: Sequence[Row]) -> list[str]:
    """All columns, ``architecture`` last, which is long."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [*(name for name in names if name != "architecture"), "architecture"]


def _csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_parquet(rows: Sequence[Row], path: Path) -> None:
    """Where pyarrow is installed and there is a training."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return
    if rows:
        columns = {name: [row.get(name) for row in rows] for name in _columns(rows)}
        # Of this process alone: parts of a study may write the same table at the same time.
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        pyarrow.parquet.write_table(pyarrow.table(columns), partial)
        partial.replace(path)


def _number(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)
