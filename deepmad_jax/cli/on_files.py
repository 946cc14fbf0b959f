"""What a trained run does with image or video files, as commands; `commands` lists them."""

import dataclasses
from typing import Any

import click

from deepmad_jax.cli.options import field_options
from deepmad_jax.config.detect import DetectConfig
from deepmad_jax.config.load import recorded_config
from deepmad_jax.config.segment import SegmentConfig
from deepmad_jax.config.video import VideoConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.main import run


@click.command(short_help="Find things on image files with a trained detector.")
@click.argument("images", nargs=-1, required=True, type=click.Path())
@click.option("--workdir", metavar="DIR", required=True, help="Of a run that trained a detector.")
@field_options(DetectConfig, only=("score",))
def detect(images: tuple[str, ...], workdir: str, **fields: Any) -> None:
    """Find things on image files with a trained detector, and draw them.

    Prints every box and leaves the drawn images in DIR/detected.

    \b
    deepmad detect street.jpg --workdir runs/fcos_deepmad_r50 --score 0.4
    """
    _look_at(workdir, "detect", "a detector", {"images": images, **fields})


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
    _look_at(workdir, "segment", "a segmenter", {"images": images, **fields})


@click.command(short_help="Say what is done on video files with a trained network.")
@click.argument("videos", nargs=-1, required=True, type=click.Path())
@click.option("--workdir", metavar="DIR", required=True, help="Of a run that trained on videos.")
@field_options(VideoConfig, only=("test_segments", "test_crops", "average"))
def video(videos: tuple[str, ...], workdir: str, **fields: Any) -> None:
    """Say what is done on video files with a trained network.

    Prints the five likeliest classes of each, with probabilities. What is not given is as in the
    run.

    \b
    deepmad video jump.mp4 --workdir runs/tsn_deepmad_r50_ucf101
    """
    _look_at(workdir, "video", "on videos", {"videos": videos, **fields})


def _look_at(workdir: str, task: str, what: str, fields: dict[str, Any]) -> None:
    """Runs the task's job with the run's own settings but for the fields given."""
    from deepmad_jax.paths import local

    folder = local(workdir)
    config = recorded_config(folder)
    if config.task != task:
        raise InvalidConfig(
            f"{folder} holds a run of the task {config.task}: give one that trained {what}."
        )
    changes = {name: value for name, value in fields.items() if value is not None}
    chosen = dataclasses.replace(getattr(config, task), **changes)
    run(dataclasses.replace(config, jobs=(task,), **{task: chosen}), folder)
