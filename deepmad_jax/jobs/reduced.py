"""What studies in small have left: the paper's experiments on data that are at hand.

A study's folder is the job's own workdir, where the same command has trained, or the one of the
variant ``configs/paper.py:PART_digits`` among the results.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmad_jax.arch import Architecture
from deepmad_jax.jobs.design import drawn
from deepmad_jax.jobs.paper_rows import config_of_run
from deepmad_jax.jobs.studies import RESULT
from deepmad_jax.jobs.workdir import read_json
from deepmad_jax.report.paper.ranking import Network
from deepmad_jax.report.spread import spread
from deepmad_jax.report.study import by_run, runs_table, values_of
from deepmad_jax.report.table import Table

RANDOM = "random_cifar"
"""The config of the paper's random networks."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Random networks of one budget.

    Attributes:
        name: for files.
        what: they were trained on, for a reader.
        networks: by rising rho.
    """

    name: str
    what: str
    networks: tuple[Network, ...]


def reduced_table(part: str, workdir: Path, results: Path) -> Table | None:
    """The table of a study in small; None where there is none."""
    from deepmad_jax.report.paper.tables import title_of

    rows = _rows_of(workdir) or _rows_of(results / f"paper_{part}_digits")
    if not rows:
        return None
    table = runs_table(by_run(rows, "top1"), "top1")
    data = rows[0].get("dataset", "other data")
    return dataclasses.replace(table, title=f"{title_of(part)} in small, on {data}")


def random_networks(workdir: Path, results: Path) -> list[Drawn]:
    """The paper's budget on CIFAR-100, and the study in small where there is one."""
    trained = _by_architecture(_rows_of(results / RANDOM))
    networks = [_network(arch, trained.get(_key(arch), ())) for arch in _paper_networks()]
    found = [Drawn("cifar100", "CIFAR-100", tuple(networks))]
    small = _by_architecture(_rows_of(workdir) or _rows_of(results / "paper_fig2_digits"))
    if small:
        dataset = next(iter(small.values()))[0].get("dataset", "other data")
        architectures = [Architecture.from_json(key) for key in small]
        networks = [_network(arch, small[_key(arch)]) for arch in architectures]
        networks.sort(key=lambda network: network.rho)
        found.append(Drawn("small", str(dataset), tuple(networks)))
    return found


@functools.cache
def _paper_networks() -> tuple[Architecture, ...]:
    return drawn(config_of_run(RANDOM))


def _rows_of(study: Path) -> list[dict[str, Any]]:
    """The results of a study's trainings, in their order; empty where there are none."""
    rows = [read_json(path) for path in sorted(study.glob(f"*/{RESULT}"))]
    return sorted(rows, key=lambda row: row["index"])


def _by_architecture(
    rows: Sequence[dict[str, Any]],
) -> Mapping[str, list[dict[str, Any]]]:
    """The rows of each network: those of its seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(_key(Architecture.from_json(row["architecture"])), []).append(row)
    return found


def _key(architecture: Architecture) -> str:
    """The same for networks that differ in their names alone."""
    return json.dumps(dataclasses.replace(architecture, name="network").to_dict())


def _network(architecture: Architecture, rows: Sequence[Mapping[str, Any]]) -> Network:
    from deepmad_jax.design.program.levels import levels_of, numbers_of

    numbers, layers = numbers_of(architecture), levels_of(architecture)[-1]["layers"]
    values = values_of(rows, "top1")
    over = spread(values) if values else None
    return Network(
        numbers["rho"],
        numbers["entropy"],
        layers,
        layers / numbers["rho"],
        over.mean if over else None,
        over.half if over else None,
    )
