"""The recogniser of a run, with the weights of one of its checkpoints."""

from pathlib import Path

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.tasks.loaded import load_with_classes
from deepmad_jax.tasks.video.recogniser import Recogniser, make_recogniser


def load_recogniser(
    config: Config, arch: Architecture, workdir: Path
) -> tuple[Recogniser, tuple[str, ...]]:
    """The network of a checkpoint, which ``config.checkpoint`` says, and its classes' names.

    Raises:
        MissingData: the run has no checkpoint.
        UserError: its checkpoint is of another network.
    """
    return load_with_classes(
        lambda classes: make_recogniser(arch, config, classes, fresh=False),
        "recogniser",
        config,
        arch,
        workdir,
    )
