"""What a trained run does with image files, as commands; `commands` lists them."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from deepmad_jax.cli.options import field_options
from deepmad_jax.config import Config
from deepmad_jax.config.load import recorded_config
from deepmad_jax.config.segment import SegmentConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.main import run


@click.command(short_help="Give every pixel of image files a class with a trained network.")
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("--workdir", metavar="DIR", required=True, help="Of a run that trained a segmenter.")
@field_options(SegmentConfig, only=("scales", "mirrored", "window", "stride"))
def segment(images: tuple[str, ...], workdir: str, **fields: Any) -> None:
    """Give every pixel of image files a class with a trained network.

    Prints the share of each class and leaves, in DIR/segmented, the image under its classes'
    colours and the classes themselves as an indexed PNG. What is not given is as in the run.

    \b
    deepmad segment street.jpg --workdir runs/upernet_deepmad_r50
    deepmad segment street.jpg --workdir runs/upernet_deepmad_r50 --scales 0.75,1,1.25 --mirrored
    """
    from deepmad_jax.paths import local

    folder = local(workdir)
    config = run_of(folder, "segment", "a segmenter")
    changes = {name: value for name, value in fields.items() if value is not None}
    chosen = dataclasses.replace(config.segment, images=images, **changes)
    run(dataclasses.replace(config, jobs=("segment",), segment=chosen), folder)


def run_of(folder: Path, task: str, what: str) -> Config:
    """The config of a run of that task; raises `InvalidConfig` for another's."""
    config = recorded_config(folder)
    if config.task != task:
        raise InvalidConfig(
            f"{folder} holds a run of the task {config.task}: give one that trained {what}."
        )
    return config
