"""The jobs: what each reads from the workdir, does, and leaves there.

Each imports what it needs when it runs, so that designing loads no training library.
"""

from collections.abc import Callable
from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.jobs.design import certify, design, sample, sensitivity, sweep
from deepmad_jax.jobs.detect import detect
from deepmad_jax.jobs.export import export
from deepmad_jax.jobs.measure import measure, verify
from deepmad_jax.jobs.paper import paper
from deepmad_jax.jobs.segment import segment
from deepmad_jax.jobs.show import compare, describe
from deepmad_jax.jobs.studies import study
from deepmad_jax.jobs.training import evaluate, perceptron, train
from deepmad_jax.jobs.trials import average, rates
from deepmad_jax.jobs.video import video

DISPATCH: dict[str, Callable[[Config, Path], None]] = {
    "design": design,
    "sample": sample,
    "perceptron": perceptron,
    "train": train,
    "evaluate": evaluate,
    "rates": rates,
    "average": average,
    "describe": describe,
    "compare": compare,
    "sweep": sweep,
    "certify": certify,
    "sensitivity": sensitivity,
    "export": export,
    "study": study,
    "detect": detect,
    "segment": segment,
    "measure": measure,
    "verify": verify,
    "paper": paper,
    "video": video,
}
"""What ``config.jobs`` may hold (`config.JOBS`) -> what it does."""

TOGETHER = ("train", "evaluate", "rates", "average")
"""Jobs that several processes share; the others are the first one's."""

READERS = {"describe", "compare"}
"""Jobs that write nothing."""
