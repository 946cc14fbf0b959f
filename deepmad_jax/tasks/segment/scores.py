"""What a table of confusions says: intersection over union and accuracy, by class and on average.

Source: mmsegmentation's IoUMetric. Counts are summed over the whole set before anything is divided.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scores:
    """The numbers of an evaluation; nan where nothing counts.

    Attributes:
        miou, macc: means over the classes of ``iou`` and ``accuracy``, those of nan left out.
        aacc: share of all labelled pixels that are right.
        iou: of each class, nan where it is neither labelled nor predicted; 0 where it is
            predicted but labelled nowhere.
        accuracy: share of each class's pixels that are right, nan where it has none.
        pixels: labelled ones, by class.
    """

    miou: float
    macc: float
    aacc: float
    iou: np.ndarray
    accuracy: np.ndarray
    pixels: np.ndarray


def scores_of(confusion: np.ndarray) -> Scores:
    """The scores of a table of pixels, shape (classes, classes): row the label, column the guess.

    >>> found = scores_of(np.array([[3, 1], [0, 4]]))
    >>> found.iou.tolist(), found.aacc
    ([0.75, 0.8], 0.875)
    """
    confusion = np.asarray(confusion, np.float64)
    right, labelled, guessed = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    iou = _ratio(right, labelled + guessed - right)
    accuracy = _ratio(right, labelled)
    total = _ratio(right.sum(keepdims=True), labelled.sum(keepdims=True))
    return Scores(
        miou=_mean(iou),
        macc=_mean(accuracy),
        aacc=float(total[0]),
        iou=iou,
        accuracy=accuracy,
        pixels=labelled.astype(np.int64),
    )


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
