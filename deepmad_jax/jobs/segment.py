"""The job that colours image files by the classes that a trained segmenter gives their pixels."""

from pathlib import Path

import numpy as np

from deepmad_jax.config import Config
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.jobs.workdir import architecture_of

SHOWN = 8
"""Classes of an image that are printed, those of most pixels first."""


def segment(config: Config, workdir: Path) -> None:
    """Colours ``config.segment.images`` into ``segmented/``; prints the share of each class."""
    from deepmad_jax.tasks.segment.loaded import load_segmenter
    from deepmad_jax.tasks.segment.pictures import draw_classes

    if not config.segment.images:
        raise InvalidConfig(
            "config.segment.images is empty; name image files: --config.segment.images=a.jpg,b.jpg"
        )
    net, names = load_segmenter(config, architecture_of(config, workdir), workdir)
    for path, classes in draw_classes(net, names, config.segment, workdir / "segmented"):
        labels, counts = np.unique(classes, return_counts=True)
        for place in np.argsort(-counts, kind="stable")[:SHOWN]:
            print(f"{names[labels[place]]:>24} {counts[place] / classes.size:7.2%}")
        print(f"Saved {path}: {len(labels)} classes.", flush=True)
