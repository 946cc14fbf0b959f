"""The job that writes a trained network in other formats."""

from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData
from deepmad_jax.jobs.workdir import architecture_of


def export(config: Config, workdir: Path) -> None:
    """Writes a checkpoint's network in every format of ``config.export``."""
    from deepmad_jax import library

    architecture = architecture_of(config, workdir)
    net = library.load(workdir, architecture=architecture, checkpoint=config.checkpoint)
    if net is architecture:
        raise MissingData(
            f"There is no checkpoint in {workdir / 'checkpoints'} to export: run the train job "
            "first (--config.jobs=train,export)."
        )
    for name in config.export:
        (path,) = library.export(net, workdir, [name], config.export_fold)
        print(f"Saved {path}.", flush=True)
