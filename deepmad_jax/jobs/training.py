"""The jobs that train and evaluate, whatever the task."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.config import Config
from deepmad_jax.jobs.lock import only_run_in
from deepmad_jax.jobs.workdir import (
    architecture_of,
    finite,
    is_first,
    refuse_to_mix,
    settle,
    write,
    write_config,
)

if TYPE_CHECKING:
    from deepmad_jax.tasks.task import Named, Task


def train(config: Config, workdir: Path) -> None:
    """Trains the workdir's network by ``config.task``; writes metrics and checkpoints."""
    from deepmad_jax.processes import by_the_first
    from deepmad_jax.tasks import TASKS
    from deepmad_jax.tasks.run import train as run

    task = TASKS[config.task]
    network = network_of(config, workdir, task)
    refuse_to_mix(config, workdir, task.parts)
    with contextlib.ExitStack() as stack:
        # The first process speaks for all: where it is refused, none goes on.
        by_the_first(lambda: stack.enter_context(only_run_in(workdir)))
        if is_first():
            if isinstance(network, Architecture):
                settle(config, workdir, network)
            else:
                write_config(config, workdir)
        run(task, config, network, workdir)
    if is_first():
        _report(workdir)


def evaluate(config: Config, workdir: Path) -> None:
    """Evaluates a checkpoint on all of the evaluation split."""
    from deepmad_jax.tasks import TASKS
    from deepmad_jax.tasks.run import evaluate as run
    from deepmad_jax.train.logbook import last_line_of_the_run

    task = TASKS[config.task]
    if config.weights is not None:
        _evaluate_given(task, config, workdir)
        return
    network = network_of(config, workdir, task)
    # The train job of this command has just evaluated the same state on the same samples.
    just_trained = {"train", "perceptron"} & {*config.jobs[: config.jobs.index("evaluate")]}
    if just_trained and config.checkpoint == "newest":
        if not is_first():
            return
        result = last_line_of_the_run(workdir)
    else:
        result = None
    if result is None:
        result = run(task, config, network, workdir)
    if not is_first():
        return
    report = _report(workdir)
    print(task.summary(result) + (f" Report: {report}" if report else ""))


def _evaluate_given(task: "Task", config: Config, workdir: Path) -> None:
    """Writes ``evaluation.json``: nothing of the weights' own folder is touched."""
    from deepmad_jax.tasks.given import evaluate_given

    found = evaluate_given(task, config, workdir)
    if is_first():
        write(workdir / "evaluation.json", json.dumps(found, indent=1))
        print(f"{config.weights}: {task.summary(found)} Saved {workdir / 'evaluation.json'}.")


def perceptron(config: Config, workdir: Path) -> None:
    """Designs ``config.perceptron`` and trains it; writes ``perceptron.json``."""
    from deepmad_jax import report
    from deepmad_jax.design.perceptron.design import design_mlp
    from deepmad_jax.tasks import TASKS
    from deepmad_jax.train.logbook import last_line_of_the_run

    task = TASKS["perceptron"]
    refuse_to_mix(config, workdir, task.parts)
    design = design_mlp(config.perceptron, config.name)
    numbers = dataclasses.asdict(design)
    print(report.perceptron_table(design.architecture, numbers))
    write(workdir / task.architecture_file, json.dumps(finite(numbers), indent=1))
    train(dataclasses.replace(config, task="perceptron"), workdir)
    result = last_line_of_the_run(workdir)
    assert result is not None
    print(f"{task.summary(result)} Saved {workdir / task.architecture_file}.")


def network_of(config: Config, workdir: Path, task: "Task") -> "Named":
    """What a task trains: an `Architecture`, named by the config or found in the workdir."""
    path = workdir / task.architecture_file
    if path.name == "architecture.json":
        return architecture_of(config, workdir)
    return task.load(path)


def _report(workdir: Path) -> Path | None:
    """The report's page, where there is an architecture to report on."""
    from deepmad_jax import report

    if not (workdir / "architecture.json").exists():
        return None
    report.write(workdir)
    return workdir / "report.html"
