"""Every pixel of every evaluation image judged once, and what is left to see of it.

Every process has all counts, since an evaluation step gives those of the whole batch.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.config import Config
from deepmad_jax.data.masked import decoded, eval_batches, forms_of
from deepmad_jax.data.pairs import PairDataset
from deepmad_jax.errors import UserError
from deepmad_jax.paths import write_whole
from deepmad_jax.tasks.segment.functions import make_judge_fn
from deepmad_jax.tasks.segment.pictures import fitted, painted, with_legend
from deepmad_jax.tasks.segment.scores import Scores, scores_of
from deepmad_jax.train import (
    TrainState,
    make_eval_step,
    over_batches,
    padded_batch_size,
    variables_for_evaluation,
)

NUMBERS = "segmentation.json"
"""What the report reads: names, scores and the table of confusions."""


def make_evaluator(
    graphdef: nnx.GraphDef, dataset: PairDataset, config: Config, mesh: Mesh, folder: Path | None
) -> Callable[[TrainState], dict[str, Any]]:
    """Gives ``dataset``, ``images``, ``miou``, ``macc`` and ``aacc``; see `Scores`.

    Args:
        graphdef: of a `Segmenter`.
        dataset: whose evaluation images are judged, each once.
        config: ``config.train.eval_batch_size``, and of the data.
        mesh: of the devices.
        folder: where the pictures go, and ``classes.txt``, a table; None writes none.
    """
    source, segment = dataset.evaluation, config.segment
    forms = len(forms_of(source, segment))
    step = make_eval_step(make_judge_fn(graphdef, segment), mesh, forms)
    batch_size = padded_batch_size(mesh, min(config.train.eval_batch_size, len(source)))
    shown = set(np.linspace(0, len(source) - 1, min(segment.overlays, len(source))).astype(int))

    def evaluate(state: TrainState) -> dict[str, Any]:
        batches = eval_batches(dataset, config.data, segment, batch_size=batch_size)
        table = np.zeros((segment.classes, segment.classes), np.int64)
        images, guesses = 0, {}
        for found in over_batches(step, variables_for_evaluation(state), batches, mesh):
            table += found["confusion"]
            for row in np.flatnonzero(found["mask"]):
                images += 1
                if int(found["index"][row]) in shown:
                    height, width = found["size"][row]
                    guesses[int(found["index"][row])] = found["guess"][row, :height, :width].copy()
        scores = scores_of(table)
        if math.isnan(scores.miou):
            raise UserError(
                f"No pixel of the evaluation of {dataset.name} has a class: choose another "
                "--config.data.eval_split, or see --config.segment.zero_ignored."
            )
        if folder is not None:
            _write(folder, dataset, config, scores, table, guesses)
        return {
            "dataset": dataset.name,
            "miou": scores.miou,
            "macc": scores.macc,
            "aacc": scores.aacc,
            "images": images,
        }

    return evaluate


def table_of(scores: Scores, names: tuple[str, ...]) -> str:
    """Every class's IoU, accuracy and labelled pixels as text."""
    width = max(5, *map(len, names))
    lines = [f"{'class':{width}}  {'IoU':>7}  {'acc':>7}  {'pixels':>13}"]
    for i, name in enumerate(names):
        iou, accuracy = (
            "-" if math.isnan(value) else f"{value:.4f}"
            for value in (scores.iou[i], scores.accuracy[i])
        )
        lines.append(f"{name:{width}}  {iou:>7}  {accuracy:>7}  {scores.pixels[i]:13,}")
    last = f"{scores.miou:7.4f}  {scores.macc:7.4f}  {scores.pixels.sum():13,}"
    return "\n".join([*lines, f"{'mean':{width}}  {last}"]) + "\n"


def _write(
    folder: Path,
    dataset: PairDataset,
    config: Config,
    scores: Scores,
    table: np.ndarray,
    guesses: dict[int, np.ndarray],
) -> None:
    folder.mkdir(exist_ok=True)
    overlays = []
    for index, guess in sorted(guesses.items()):
        element = dataset.evaluation.only([index])[0]
        pixels, label = decoded(element, config.segment)
        name = f"overlay{len(overlays)}.png"
        panels = [pixels, *(painted(pixels, x, len(dataset.names)) for x in (label, guess))]
        with_legend([fitted(panel) for panel in panels], [label, guess], dataset.names).save(
            folder / name
        )
        overlays.append({"file": name, "image": dataset.evaluation.names[index]})
    write_whole(folder / "classes.txt", table_of(scores, dataset.names))
    numbers = {
        "names": dataset.names,
        "miou": scores.miou,
        "macc": scores.macc,
        "aacc": scores.aacc,
        "iou": _plain(scores.iou),
        "accuracy": _plain(scores.accuracy),
        "pixels": scores.pixels.tolist(),
        "confusion": table.tolist(),
        "overlays": overlays,
    }
    write_whole(folder / NUMBERS, json.dumps(numbers) + "\n")


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
