"""Every evaluation video judged once, and the tables that are left of it.

Every process has all scores, since an evaluation step gives those of the whole batch.
"""

import contextlib
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.config import Config
from deepmad_jax.data.clips import eval_batches
from deepmad_jax.data.videos import VideoDataset
from deepmad_jax.errors import UserError
from deepmad_jax.paths import write_whole
from deepmad_jax.tasks.video.functions import make_score_fn
from deepmad_jax.train import (
    TrainState,
    make_eval_step,
    over_batches,
    padded_batch_size,
    variables_for_evaluation,
)


def make_evaluator(
    graphdef: nnx.GraphDef, dataset: VideoDataset, config: Config, mesh: Mesh, folder: Path | None
) -> Callable[[TrainState], dict[str, Any]]:
    """Gives ``dataset``, ``loss``, ``top1``, ``top5``, ``macc`` (mean over classes) and ``videos``.

    Args:
        graphdef: of a `Recogniser`.
        dataset: whose evaluation videos are judged, each once.
        config: ``config.train.eval_batch_size``, and of the data.
        mesh: of the devices.
        folder: where ``classes.txt`` and ``videos.csv`` go; None writes none.
    """
    step = make_eval_step(make_score_fn(graphdef, config.video), mesh)
    batch_size = min(config.train.eval_batch_size, len(dataset.evaluation))
    batch_size = padded_batch_size(mesh, batch_size)

    def evaluate(state: TrainState) -> dict[str, Any]:
        batches = eval_batches(dataset, config.data, config.video, batch_size=batch_size)
        found = []
        with contextlib.closing(batches):
            for given in over_batches(step, variables_for_evaluation(state), batches, mesh):
                rows = given["mask"] > 0
                found.append([given[name][rows] for name in ("index", "label", "scores")])
        index, label, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if not len(index):
            raise UserError(
                f"No video of the evaluation of {dataset.name} could be read: choose another "
                "--config.data.eval_split, or mend the files."
            )
        if folder is not None:
            _write(folder, dataset, index, label, scores)
        return {"dataset": dataset.name, **numbers_of(label, scores), "videos": len(index)}

    return evaluate


def numbers_of(label: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """``loss`` (nats), ``top1``, ``top5`` and ``macc``, the mean of the classes' accuracies.

    Args:
        label: of each video, (videos,).
        scores: log probabilities, (videos, classes).
    """
    best = _best(scores)
    right = best[:, 0] == label
    by_class = [right[label == number].mean() for number in np.unique(label)]
    picked = scores[np.arange(len(label)), label].astype(np.float64)
    return {
        "loss": float(-picked.mean()),
        "top1": float(right.mean()),
        "top5": float((best[:, :5] == label[:, None]).any(1).mean()),
        "macc": float(np.mean(by_class)),
    }


def table_of(label: np.ndarray, scores: np.ndarray, names: tuple[str, ...]) -> str:
    """Every class's accuracy and videos, and what its others were most often taken for, as text."""
    found = _best(scores)[:, 0]
    width = max(5, *map(len, names))
    lines = [f"{'class':{width}}  {'top-1':>6}  {'videos':>7}  most often taken for"]
    for number, name in enumerate(names):
        guesses = found[label == number]
        others, counts = np.unique(guesses[guesses != number], return_counts=True)
        wrong = f"{names[others[counts.argmax()]]} ({counts.max()})" if len(others) else "-"
        share = f"{(guesses == number).mean():.4f}" if len(guesses) else "-"
        lines.append(f"{name:{width}}  {share:>6}  {len(guesses):7,}  {wrong}")
    return "\n".join(lines) + "\n"


def _best(scores: np.ndarray) -> np.ndarray:
    """The classes of each video, best first; of equal scores the first class."""
    return np.argsort(-scores, axis=1, kind="stable")


def _write(
    folder: Path,
    dataset: VideoDataset,
    index: np.ndarray,
    label: np.ndarray,
    scores: np.ndarray,
) -> None:
    folder.mkdir(exist_ok=True)
    write_whole(folder / "classes.txt", table_of(label, scores, dataset.names))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("video", "class", "found", "probability"))
    best = _best(scores)[:, 0]
    for place in np.argsort(index):
        number, guess = int(index[place]), int(best[place])
        lines.writerow(
            (
                dataset.evaluation.paths[number],
                dataset.names[label[place]],
                dataset.names[guess],
                f"{np.exp(scores[place, guess]):.4f}",
            )
        )
    write_whole(folder / "videos.csv", text.getvalue())
