"""Many networks trained alike, over as many processes and hosts as there are: one table of them.

Each network has a folder of the workdir, a run like any other. Whoever ends last leaves the whole
table; what a lost process leaves out is missing there, and done by whoever is given the command
next.
"""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.config import Config
from deepmad_jax.errors import UserError
from deepmad_jax.jobs.design import drawn
from deepmad_jax.jobs.training import train
from deepmad_jax.jobs.workdir import finite, read_json, refuse_to_mix, settle, write

RESULT = "result.json"
"""In the folder of a network that is trained: its row."""


def study(config: Config, workdir: Path) -> None:
    """Trains this part of ``config.sample``'s networks; writes ``study.csv``."""
    import jax

    if jax.process_count() > 1:
        raise UserError(
            "The study job trains each network in one process: start as many as you like by "
            "themselves, each with its own --config.part.index of --config.part.count, in place "
            "of --distributed."
        )
    count, part = config.sample.count, config.part
    mine = part.of(range(count))
    print(f"Drawing {count} architectures, to train {len(mine)} of them ...", flush=True)
    networks = drawn(config)
    for index in mine:
        _train(config, workdir, index, networks[index])
        jax.clear_caches()  # of steps that no other network has
    _tabulate(config, workdir)


def _train(config: Config, workdir: Path, index: int, network: Architecture) -> None:
    """Leaves the network's `RESULT`, unless it is there; goes on from its last checkpoint."""
    from deepmad_jax.design.program.levels import numbers_of
    from deepmad_jax.train import Diverged
    from deepmad_jax.train.logbook import last_line_of_the_run

    folder = _folder(workdir, index)
    folder.mkdir(exist_ok=True)
    # As configs/random_cifar.py:INDEX alone would have it.
    own = dataclasses.replace(
        config,
        name=f"{config.name}_{index}",
        jobs=("sample", "train", "evaluate"),
        sample=dataclasses.replace(config.sample, index=index),
        part=type(config.part)(),
    )
    network = dataclasses.replace(network, name=own.name)
    refuse_to_mix(own, folder)
    settle(own, folder, network)
    if (folder / RESULT).exists():
        print(f"Network {index} is trained.", flush=True)
        return
    print(f"Training network {index} in {folder} ...", flush=True)
    reason = None
    try:
        train(own, folder)
    except Diverged as error:  # which is a result; any other mistake would befall the next as well
        reason = str(error)
    rows, numbers = layer_table(network), numbers_of(network)
    result = {
        "index": index,
        "rho": numbers["rho"],
        "entropy": numbers["entropy"],
        "layers": numbers["layers"],
        "params": cost.params(rows),
        "macs": cost.macs(rows),
        **({} if reason else last_line_of_the_run(folder) or {}),
        "reason": reason,
        "architecture": json.dumps(network.to_dict()),
    }
    write(folder / RESULT, json.dumps(finite(result), indent=1))


def _tabulate(config: Config, workdir: Path) -> None:
    """Writes the table of all networks that are trained by now, and says which are not."""
    count = config.sample.count
    paths = {index: _folder(workdir, index) / RESULT for index in range(count)}
    results: dict[int, dict[str, Any]] = {i: read_json(p) for i, p in paths.items() if p.exists()}
    # "architecture" last, which is long.
    names = list(dict.fromkeys(name for row in results.values() for name in row))
    names = [*(name for name in names if name != "architecture"), "architecture"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(results.values())
    write(workdir / "study.csv", text.getvalue())
    said = f"{len(results)} of {count} networks are in {workdir / 'study.csv'}."
    missing = [index for index in range(count) if index not in results]
    if missing:
        said += (
            f" Not yet: {', '.join(map(str, missing))}, of {config.part.those_with(missing)}. "
            "Should one be lost, the command without config.part trains what is missing."
        )
    print(said, flush=True)


def _folder(workdir: Path, index: int) -> Path:
    return workdir / f"{index:03d}"
