"""The job that finds things on image files with a trained detector and draws them."""

from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.jobs.workdir import architecture_of


def detect(config: Config, workdir: Path) -> None:
    """Draws boxes on ``config.detect.images`` into ``detected/``; prints what was found."""
    from deepmad_jax.tasks.detect.loaded import load_detector
    from deepmad_jax.tasks.detect.pictures import draw_detections

    if not config.detect.images:
        raise InvalidConfig(
            "config.detect.images is empty; name image files: --config.detect.images=a.jpg,b.jpg"
        )
    net, names = load_detector(config, architecture_of(config, workdir), workdir)
    for path, found in draw_detections(net, names, config.detect, workdir / "detected"):
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            corners = ", ".join(f"{value:.1f}" for value in box)
            print(f"{names[label]:>16} {score:.3f}  ({corners})")
        print(f"Saved {path}: {len(found.scores)} found.", flush=True)
