"""The jobs that time: rows of the space before a design, and the designed network after it."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad_jax.config import Config
from deepmad_jax.jobs.workdir import architecture_of, finite, write

if TYPE_CHECKING:
    from deepmad_jax.measure.memory import Compiled
    from deepmad_jax.measure.whole import Compared


def measure(config: Config, workdir: Path) -> None:
    """Times the space's rows into the latency table, and whole networks beside their sum.

    The table is ``config.design.latency_table``, or ``latency.csv`` in the workdir; one that is
    there is gone on with. Leaves ``additivity.csv``.
    """
    from deepmad_jax.arch.reference import resolve
    from deepmad_jax.measure import table, whole
    from deepmad_jax.measure.points import points_of

    settings, path = config.measure, table_path(config, workdir)
    points = points_of(config.design, settings)
    networks = whole.networks_of(config.design, settings.networks)
    print(
        f"Timing {len(points):,} rows and {len(networks)} networks on {table.device_name()}, "
        f"batch {settings.batch}, {settings.dtype}, into {path} ...",
        flush=True,
    )
    watches = whole.watches_of(networks, settings)
    yardstick = table.yardstick_of(path, settings)
    new = table.measure_rows(path, points, settings, watches, yardstick)
    print(f"{new:,} rows are new, {len(points) - new:,} were in {path} already.", flush=True)
    designs = whole.designs_of(config.design, path, settings.designs)
    groups = [
        whole.compare(archs, its_watches, table.rows_of(path), settings, yardstick)
        for archs, its_watches in (
            (networks, watches),
            (designs, whole.watches_of(designs, settings)),
        )
    ]
    factor = whole.factor_of(groups[1] or groups[0])
    table.write_factor(path, factor, settings)
    compared = [one for group in groups for one in group]
    write(workdir / "additivity.csv", _as_csv(compared, factor))
    print(_as_text(groups, factor))
    known = [resolve(name) for name in settings.references]
    times = whole.measured_ms(whole.watches_of(known, settings), settings, yardstick)
    for arch, ms in zip(known, times, strict=True):
        print(f"{arch.name}: {ms:.4g} ms an image, {1e3 / ms:,.0f} images a second.")


def verify(config: Config, workdir: Path) -> None:
    """Times the workdir's network beside what the latency table predicts, and the limit.

    Leaves ``latency.json``. A network over the limit is told, not refused: the machine may have
    been busy.
    """
    from deepmad_jax.design.program.latency_file import read_grid
    from deepmad_jax.errors import MissingData
    from deepmad_jax.measure import table, whole

    settings, path = config.measure, table_path(config, workdir)
    architecture = architecture_of(config, workdir)
    if not path.exists():
        raise MissingData(
            f"There is no latency table at {path}: run the measure job first "
            f"(--config.jobs=measure,{','.join(config.jobs)})."
        )
    watches = whole.watches_of([architecture], settings)
    yardstick = table.yardstick_of(path, settings)
    (found,) = whole.compare([architecture], watches, read_grid(str(path)), settings, yardstick)
    limit = config.design.latency
    numbers = {
        "predicted_ms": found.predicted_ms,
        "measured_ms": found.measured_ms,
        "limit_ms": limit,
        "images_per_second": 1e3 / found.measured_ms,
        "batch": settings.batch,
        "dtype": settings.dtype,
        "predicted_bytes": found.predicted_bytes,
        "compiled_bytes": found.compiled and found.compiled.maps,
        "fixed_bytes": found.compiled and found.compiled.fixed,
    }
    write(workdir / "latency.json", json.dumps(finite(numbers), indent=1))
    over = found.measured_ms / limit - 1.0
    verdict = (
        "" if limit == float("inf") else f", {abs(over):.1%} {'over' if over > 0 else 'below'}"
    )
    print(
        f"{architecture.name}: {found.measured_ms:.4g} ms an image measured, "
        f"{found.predicted_ms:.4g} predicted, limit {limit:.4g}{verdict}; "
        f"{1e3 / found.measured_ms:,.0f} images a second. Maps need {_mib(found.predicted_bytes)} "
        f"by the layer table, {_as_compiled(found.compiled)}."
    )


def table_path(config: Config, workdir: Path) -> Path:
    """Where the latency table of a run is."""
    named = config.design.latency_table
    return Path(named) if named else workdir / "latency.csv"


_COLUMNS = (
    *("network", "predicted_ms", "measured_ms", "ratio", "error_with_factor"),
    *("predicted_bytes", "compiled_bytes", "fixed_bytes"),
)


def _as_csv(compared: Sequence["Compared"], factor: float) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in compared:
        times = (one.predicted_ms, one.measured_ms, one.ratio, one.ratio / factor - 1.0)
        sizes = (one.predicted_bytes, *(one.compiled or ("", "")))
        writer.writerow((one.name, *(f"{value:.5g}" for value in times), *sizes))
    return text.getvalue()


def _as_text(groups: Sequence[Sequence["Compared"]], factor: float) -> str:
    """The table of random networks and of designs."""
    compared = [one for group in groups for one in group]
    if not compared:
        return (
            "No networks were timed (config.measure.networks and designs are 0): no factor is "
            "known."
        )
    lines = ["network        rows, ms   whole, ms   ratio   error with the factor"]
    lines += [
        f"{one.name:12} {one.predicted_ms:10.4g} {one.measured_ms:11.4g} {one.ratio:7.2f} "
        f"{one.ratio / factor - 1.0:+10.1%}"
        for one in compared
    ]
    kind = "Designs" if groups[1] else "Networks"
    lines.append(f"{kind} take {factor:.3f} times the sum of their rows (median): so the table.")
    for name, group in zip(("random networks", "designs"), groups, strict=True):
        if group:
            worst = max(abs(one.ratio / factor - 1.0) for one in group)
            lines.append(f"With this factor the sum is off by {worst:.1%} at most for {name}.")
    return "\n".join(lines)


def _as_compiled(compiled: "Compiled | None") -> str:
    if compiled is None:
        return "how much as compiled this device does not tell"
    return f"{_mib(compiled.maps)} as compiled, beside {_mib(compiled.fixed)} whatever the batch"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
