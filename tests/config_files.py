"""Config files as the command line reads them."""

from pathlib import Path

from deepmad_jax.config.load import parse


def config_of(file, variant=""):
    """The config of a file or of its variant, whose workdir is called after it."""
    config, workdir = parse(["main", "--config", f"{file}:{variant}" if variant else str(file)])
    assert workdir == Path("runs") / config.name
    return config
