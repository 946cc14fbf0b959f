"""COCO's twelve numbers and the average precision of every class, by pycocotools."""

import contextlib
import dataclasses
import io
from typing import Any

import numpy as np

from deepmad_jax.errors import UserError

NUMBERS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""COCO's twelve, in its order."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """How good some predictions are.

    Attributes:
        numbers: by the names of `NUMBERS`; what no object counts for is nan.
        per_class: average precision by label, nan for a class without objects, shape (classes,).
    """

    numbers: dict[str, float]
    per_class: np.ndarray


class Judge:
    """Compares predictions with the annotations in a COCO JSON.

    Args:
        annotations: the file, read when it is first needed.
    """

    def __init__(self, annotations: str):
        self._path = annotations
        self._truth: Any = None

    def __call__(self, results: list[dict[str, Any]], kind: str) -> Judged:
        """How good ``results`` are over every image of the file.

        Args:
            results: as COCO takes them.
            kind: ``bbox`` or ``segm``.
        Raises:
            UserError: annotations that pycocotools does not take.
        """
        coco, evaluation = _pycocotools()
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints tables of its own
                if self._truth is None:
                    self._truth = coco(self._path)
                found = self._truth.loadRes(results) if results else _nothing(self._truth, coco)
                judged = evaluation(self._truth, found, kind)
                judged.params.imgIds = sorted(self._truth.getImgIds())
                judged.evaluate()
                judged.accumulate()
                judged.summarize()
        except (ValueError, TypeError, LookupError) as error:
            raise UserError(
                f"pycocotools cannot judge by {self._path} ({type(error).__name__}: {error}): mend "
                "its annotations."
            ) from error
        values = [float(value) if value > -1 else float("nan") for value in judged.stats]
        # IoU x recall x class x area x most detections: all areas, 100.
        precision = np.asarray(judged.eval["precision"])[:, :, :, 0, 2]
        precision = np.where(precision > -1, precision, np.nan).transpose(2, 0, 1)
        counted = ~np.isnan(precision).all((1, 2))
        per_class = np.full(len(precision), np.nan)
        per_class[counted] = np.nanmean(precision[counted], axis=(1, 2))
        return Judged(dict(zip(NUMBERS, values, strict=True)), per_class)


def _nothing(truth: Any, coco: Any) -> Any:
    """Results without a prediction, which `loadRes` does not take."""
    empty = coco()
    empty.dataset = {
        "images": truth.dataset["images"],
        "categories": truth.dataset["categories"],
        "annotations": [],
    }
    empty.createIndex()
    return empty


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UserError(
            "Evaluating detections needs the package pycocotools: pip install "
            "'deepmad_jax[detect]'."
        ) from error
    return COCO, COCOeval
