"""Many trainings, over as many processes and hosts as there are: one table of them.

Each training (`trainings`) has a folder of the workdir, a run like any other. Whoever ends last
leaves the whole table; what a lost process leaves out is missing there, and done by whoever is
given the command next.
"""

import json
from pathlib import Path
from typing import Any

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.config import Config
from deepmad_jax.errors import UserError
from deepmad_jax.jobs.training import train
from deepmad_jax.jobs.trainings import Training, trainings_of
from deepmad_jax.jobs.workdir import finite, read_json, refuse_to_mix, write

RESULT = "result.json"
"""In the folder of a training that is done: its row."""


def study(config: Config, workdir: Path) -> None:
    """Does this part of the study's trainings; writes ``study.csv`` and what is made of it."""
    import jax

    if jax.process_count() > 1:
        raise UserError(
            "The study job trains each network in one process: start as many as you like by "
            "themselves, each with its own --config.part.index of --config.part.count, in place "
            "of --distributed."
        )
    trainings = trainings_of(config)
    mine = config.part.of(range(len(trainings)))
    print(f"Of {len(trainings)} trainings this does {len(mine)} ...", flush=True)
    for index in mine:
        _train(trainings[index], index, workdir)
        jax.clear_caches()  # of steps that no other network has
    _tabulate(config, trainings, workdir)


def _train(training: Training, index: int, workdir: Path) -> None:
    """Leaves the training's `RESULT`, unless it is there; goes on from its last checkpoint."""
    from deepmad_jax.design.program.levels import numbers_of
    from deepmad_jax.train import Diverged
    from deepmad_jax.train.logbook import last_line_of_the_run

    folder, own = workdir / training.folder, training.config
    folder.mkdir(exist_ok=True)
    refuse_to_mix(own, folder)
    network = training.settle_in(folder)
    if (folder / RESULT).exists():
        print(f"Training {index}, {training.folder}, is done.", flush=True)
        return
    print(f"Training {index} in {folder} ...", flush=True)
    reason = None
    try:
        train(own, folder)
    except Diverged as error:  # which is a result; any other mistake would befall the next as well
        reason = str(error)
    rows, numbers = layer_table(network), numbers_of(network)
    result = {
        "index": index,
        "run": training.run,
        "seed": own.train.seed,
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


def _tabulate(config: Config, trainings: list[Training], workdir: Path) -> None:
    """Writes the tables of all trainings that are done by now, and says which are not."""
    from deepmad_jax.report.study import write_study
    from deepmad_jax.tasks import TASKS

    results: dict[int, dict[str, Any]] = {}
    for index, training in enumerate(trainings):
        path = workdir / training.folder / RESULT
        if path.exists():
            # A study that was given more runs since then has other numbers.
            results[index] = {"run": training.run, **read_json(path), "index": index}
    measure = TASKS[config.task].best_by
    rows = [row | {"folder": trainings[index].folder} for index, row in results.items()]
    write_study(rows, measure, workdir, config.name, len(trainings))
    said = f"{len(results)} of {len(trainings)} trainings are in {workdir / 'study.csv'}."
    missing = [index for index in range(len(trainings)) if index not in results]
    if missing:
        said += (
            f" Not yet: {', '.join(map(str, missing))}, of {config.part.those_with(missing)}. "
            "Should one be lost, the command without config.part trains what is missing."
        )
    print(said, flush=True)
