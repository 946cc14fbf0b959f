"""The network of a run whose classes have names, with the weights of one of its checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from deepmad_jax import trained
from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData
from deepmad_jax.paths import write_whole
from deepmad_jax.train import Checkpoints

CLASSES = "classes.json"
"""Where a run's workdir has the names of its classes, by label."""

PREDICTIONS = "predictions"
"""Its folder for what the last evaluation found."""


def write_classes(workdir: Path, names: tuple[str, ...]) -> None:
    """Leaves the names of the classes in a run's workdir."""
    write_whole(workdir / CLASSES, json.dumps(names) + "\n")


def predictions_folder(workdir: Path, names: tuple[str, ...]) -> Path | None:
    """Where an evaluation leaves what it found, the classes' names beside it.

    None in all processes but the first, which write nothing.
    """
    if jax.process_index() > 0:
        return None
    write_classes(workdir, names)
    return workdir / PREDICTIONS


def load_with_classes(
    make: Callable[[int], Any], what: str, config: Config, arch: Architecture, workdir: Path
) -> tuple[Any, tuple[str, ...]]:
    """The network of a checkpoint, which ``config.checkpoint`` says, and its classes' names.

    Args:
        make: the network for a number of classes.
        what: it is, for the message.
        config, arch, workdir: of the run.
    Raises:
        MissingData: the run has no checkpoint.
        UserError: its checkpoint is of another network.
    """
    checkpoints, classes = workdir / "checkpoints", workdir / CLASSES
    if not (classes.exists() and checkpoints.is_dir() and any(checkpoints.iterdir())):
        raise MissingData(
            f"There is no checkpoint of a {what} in {checkpoints}: run the train job first "
            "(--config.jobs=train), or give the workdir of a run that has trained."
        )
    names = tuple(json.loads(classes.read_text()))
    net = make(len(names))
    with Checkpoints(checkpoints, read_only=True) as found:
        chosen = found.chosen_step(config.checkpoint)
        variables = found.restore_variables(chosen if config.checkpoint == "best" else None)
    trained.fill(net, arch.name, variables, checkpoints)
    return net, names
