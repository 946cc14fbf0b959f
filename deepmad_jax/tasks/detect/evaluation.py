"""Average precision of a detector over every evaluation image, and the predictions it is made of.

Every process has all predictions, since an evaluation step gives those of the whole batch.
"""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.config import Config
from deepmad_jax.data.boxed import eval_batches, num_canvases
from deepmad_jax.data.coco import CocoDataset
from deepmad_jax.data.coco_index import Index, read_index
from deepmad_jax.errors import UserError
from deepmad_jax.paths import write_whole
from deepmad_jax.tasks.detect.average_precision import Judge
from deepmad_jax.tasks.detect.functions import make_detect_fn
from deepmad_jax.tasks.detect.masks import FOREGROUND, paste
from deepmad_jax.train import (
    TrainState,
    make_eval_step,
    over_batches,
    padded_batch_size,
    variables_for_evaluation,
)

KINDS = {"box": ("bbox", "segmentation"), "mask": ("segm", "bbox")}
"""Ours -> what pycocotools calls it, and the field of the other kind."""


def make_evaluator(
    graphdef: nnx.GraphDef, dataset: CocoDataset, config: Config, mesh: Mesh, folder: Path | None
) -> Callable[[TrainState], dict[str, Any]]:
    """Gives ``dataset``, ``images`` and COCO's numbers as ``box_ap``, ...; see `Judge`.

    What is on an image that cannot be read counts as not found.

    Args:
        graphdef: of a detector.
        dataset: whose evaluation images are judged, each once.
        config: ``config.train.eval_batch_size``, and of the data.
        mesh: of the devices.
        folder: where the predictions go, ``boxes.json`` and ``masks.json`` as COCO takes results,
            and ``classes.txt``, a table; None writes none.
    """
    source = dataset.evaluation
    index = read_index(source.annotations)
    step = make_eval_step(make_detect_fn(graphdef), mesh, num_canvases(source))
    batch_size = padded_batch_size(mesh, min(config.train.eval_batch_size, len(source)))
    judge = Judge(source.annotations)

    def evaluate(state: TrainState) -> dict[str, Any]:
        batches = eval_batches(dataset, config.data, config.detect, batch_size=batch_size)
        results: list[dict[str, Any]] = []
        images = 0
        with contextlib.closing(batches):
            for found in over_batches(step, variables_for_evaluation(state), batches, mesh):
                images += int(found["mask"].sum())
                results += results_of(found, index)
        if not images:
            raise UserError(
                f"No image of the evaluation of {dataset.name} could be used: all that were read "
                "are corrupt. Choose other data, or prepare it again."
            )
        numbers, tables = judged(results, judge, masks="masks" in found)
        if folder is not None:
            _write(folder, results, tables, dataset.names)
        return {"dataset": dataset.name, **numbers, "images": images}

    return evaluate


def judged(
    results: list[dict[str, Any]], judge: Judge, masks: bool
) -> tuple[dict[str, float], list[tuple[str, np.ndarray]]]:
    """COCO's numbers as ``box_ap``, ..., and of boxes, and masks, the precision of every class.

    Args:
        results: of `results_of`.
        judge: of the annotations.
        masks: whether the results have them.
    """
    numbers: dict[str, float] = {}
    tables = []
    for name in ("box", "mask") if masks else ("box",):
        kind, _ = KINDS[name]
        found = judge(of_kind(results, name), kind)
        # Left out: what no object counts for, such as the large ones where all are small.
        some = {key: value for key, value in found.numbers.items() if not math.isnan(value)}
        numbers |= {f"{name}_{key}": value for key, value in some.items()}
        tables.append((name, found.per_class))
    return numbers, tables


def of_kind(results: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Results of ``box`` or ``mask`` alone, each a dict of its own: pycocotools adds to them.

    By its box, where there is one, pycocotools would also tell small masks from large ones.
    """
    _, other = KINDS[name]
    return [{key: value for key, value in result.items() if key != other} for result in results]


def results_of(found: dict[str, np.ndarray], index: Index) -> list[dict[str, Any]]:
    """What was found in a batch, as COCO takes results; numbers rounded as COCO's servers ask.

    Args:
        found: of `functions.make_detect_fn`.
        index: of the images.
    """
    results = []
    for row in np.flatnonzero(found["mask"]):
        place = int(found["index"][row])
        height, width = index.sizes[place].tolist()
        kept = np.flatnonzero(found["valid"][row])
        boxes = found["boxes"][row][kept].astype(np.float64)
        codes = [None] * len(kept)
        if "masks" in found:
            codes = _codes(found["masks"][row][kept], boxes, (height, width))
        for k, box, code in zip(kept, boxes, codes, strict=True):
            x1, y1, x2, y2 = box.tolist()
            result = {
                "image_id": index.ids[place],
                "category_id": index.categories[found["labels"][row][k]],
                "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(found["scores"][row][k]), 6),
            }
            results.append(result if code is None else result | {"segmentation": code})
    return results


def _codes(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> list[Any]:
    """Compressed run-length codes of masks in their boxes."""
    from deepmad_jax.data.coco_masks import coco_masks

    codes = []
    # One at a time: 100 masks of a large image take a gigabyte.
    for mask, box in zip(masks, boxes, strict=True):
        whole = paste(mask[None], box[None].astype(np.float32), size)[0] >= FOREGROUND
        code = coco_masks().encode(np.asfortranarray(whole.astype(np.uint8)))
        codes.append({"size": code["size"], "counts": code["counts"].decode()})
    return codes


def _write(
    folder: Path,
    results: list[dict[str, Any]],
    tables: list[tuple[str, np.ndarray]],
    names: tuple[str, ...],
) -> None:
    folder.mkdir(exist_ok=True)
    write_whole(folder / "boxes.json", json.dumps(of_kind(results, "box")))
    if len(tables) > 1:
        write_whole(folder / "masks.json", json.dumps(of_kind(results, "mask")))
    width = max(map(len, names))
    lines = [f"{'class':{width}}" + "".join(f"  {name + ' AP':>8}" for name, _ in tables)]
    for i, name in enumerate(names):
        lines.append(f"{name:{width}}" + "".join(f"  {per[i]:8.3f}" for _, per in tables))
    write_whole(folder / "classes.txt", "\n".join(lines) + "\n")
