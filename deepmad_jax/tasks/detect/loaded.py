"""The detector of a run, with the weights of one of its checkpoints."""

import json
from pathlib import Path
from typing import Any

from flax import nnx

from deepmad_jax import trained
from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData
from deepmad_jax.tasks.detect.detectors import make_detector
from deepmad_jax.train import Checkpoints

CLASSES = "classes.json"
"""Where a run's workdir has the names of what it finds, by label."""


def write_classes(workdir: Path, names: tuple[str, ...]) -> None:
    """Leaves the names of the classes in a run's workdir."""
    partial = workdir / f"{CLASSES}.partial"
    partial.write_text(json.dumps(names) + "\n")
    partial.replace(workdir / CLASSES)


def load_detector(
    config: Config, arch: Architecture, workdir: Path
) -> tuple[nnx.Module, tuple[str, ...]]:
    """The detector of a checkpoint, which ``config.checkpoint`` says, and the names of its classes.

    Raises:
        MissingData: the run has no checkpoint.
        UserError: its checkpoint is of another network.
    """
    checkpoints, classes = workdir / "checkpoints", workdir / CLASSES
    if not (classes.exists() and checkpoints.is_dir() and any(checkpoints.iterdir())):
        raise MissingData(
            f"There is no checkpoint of a detector in {checkpoints}: run the train job first "
            "(--config.jobs=train), or give the workdir of a run that has trained."
        )
    names = tuple(json.loads(classes.read_text()))
    net: Any = make_detector(arch, config, len(names), fresh=False)
    with Checkpoints(checkpoints, read_only=True) as found:
        chosen = found.chosen_step(config.checkpoint)
        variables = found.restore_variables(chosen if config.checkpoint == "best" else None)
    trained.fill(net, arch.name, variables, checkpoints)
    return net, names
