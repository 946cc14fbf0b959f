"""The jobs beside a training: which rate to take, and what its last checkpoints average to."""

import dataclasses
import json
from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.jobs.training import network_of
from deepmad_jax.jobs.workdir import is_first, refuse_to_mix, write

AVERAGED = "averaged.safetensors"
"""In the workdir: the weights of the mean of checkpoints."""


def rates(config: Config, workdir: Path) -> None:
    """Trains a few steps at rising rates; writes ``rates.json`` and ``rates.png``."""
    from deepmad_jax.report.rates import rates_png
    from deepmad_jax.tasks import TASKS
    from deepmad_jax.tasks.rates import range_test

    task = TASKS[config.task]
    found = dataclasses.asdict(range_test(task, config, network_of(config, workdir, task)))
    if not is_first():
        return
    write(workdir / "rates.json", json.dumps(found, indent=1))
    (workdir / "rates.png").write_bytes(rates_png(**found))
    print(
        f"The loss falls steepest at a learning rate of {found['steepest']:.2g} and is least at "
        f"{found['least']:.2g}, by {len(found['rates'])} steps of batch {config.train.batch_size}. "
        f"Saved {workdir / 'rates.json'} and rates.png."
    )


def average(config: Config, workdir: Path) -> None:
    """Averages the last ``config.average`` checkpoints; writes and evaluates the weights."""
    from deepmad_jax.tasks import TASKS
    from deepmad_jax.tasks.average import average as run
    from deepmad_jax.tasks.average import save

    if config.task != "classify":
        raise InvalidConfig(
            f"task is {config.task!r}, but only a classifier's checkpoints are averaged: its "
            "weights alone have a file to go to."
        )
    task = TASKS[config.task]
    refuse_to_mix(config, workdir, task.parts)
    network = network_of(config, workdir, task)
    line, variables = run(task, config, network, workdir)
    if is_first():
        save(network, variables, workdir / AVERAGED)
        steps = ", ".join(map(str, line["averaged_steps"]))
        print(f"The mean of steps {steps}: {task.summary(line)} Saved {workdir / AVERAGED}.")
