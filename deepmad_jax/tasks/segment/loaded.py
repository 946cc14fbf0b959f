"""The segmenter of a run, with the weights of one of its checkpoints."""

from pathlib import Path

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.tasks.loaded import load_with_classes
from deepmad_jax.tasks.segment.segmenter import Segmenter, make_segmenter


def load_segmenter(
    config: Config, arch: Architecture, workdir: Path
) -> tuple[Segmenter, tuple[str, ...]]:
    """The network of a checkpoint, which ``config.checkpoint`` says, and its classes' names.

    Raises:
        MissingData: the run has no checkpoint.
        UserError: its checkpoint is of another network.
    """
    return load_with_classes(
        lambda _: make_segmenter(arch, config, fresh=False), "segmenter", config, arch, workdir
    )
