"""The job that says what is done on video files, by a trained recogniser."""

from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.jobs.workdir import architecture_of

SHOWN = 5
"""Classes of a video that are printed, the likeliest first."""


def video(config: Config, workdir: Path) -> None:
    """Prints the likeliest classes of each of ``config.video.videos``."""
    from deepmad_jax.tasks.video.loaded import load_recogniser
    from deepmad_jax.tasks.video.named_videos import recognised

    if not config.video.videos:
        raise InvalidConfig(
            "config.video.videos is empty; name video files: --config.video.videos=a.mp4,b.avi"
        )
    net, names = load_recogniser(config, architecture_of(config, workdir), workdir)
    for file, probabilities in recognised(net, config.video):
        print(file)
        for place in (-probabilities).argsort(kind="stable")[:SHOWN]:
            print(f"{names[place]:>24} {probabilities[place]:7.2%}", flush=True)
