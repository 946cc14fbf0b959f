"""The detector of a run, with the weights of one of its checkpoints."""

from pathlib import Path

from flax import nnx

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.tasks.detect.detectors import make_detector
from deepmad_jax.tasks.loaded import load_with_classes


def load_detector(
    config: Config, arch: Architecture, workdir: Path
) -> tuple[nnx.Module, tuple[str, ...]]:
    """The detector of a checkpoint, which ``config.checkpoint`` says, and the names of its classes.

    Raises:
        MissingData: the run has no checkpoint.
        UserError: its checkpoint is of another network.
    """
    return load_with_classes(
        lambda classes: make_detector(arch, config, classes, fresh=False),
        "detector",
        config,
        arch,
        workdir,
    )
