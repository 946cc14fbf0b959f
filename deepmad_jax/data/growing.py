"""Progressive resizing: training begins with small images, which cost little, and ends with large.

Batches come at the network's own size and are brought to a smaller one, which is a function of
their number alone, so that a run that goes on has the same. Evaluation is always at the full size.

Source: the idea is of Howard's (fast.ai, DAWNBench 2018); Tan and Le 2021 (arXiv 2104.00298),
section 4, who also let the regularisation grow, which is not done here.
"""

from typing import Any

import cv2
import grain
import numpy as np


class Growing(grain.DatasetIterator[dict[str, np.ndarray]]):
    """Batches whose images grow: as many parts of the training as there are sizes, all equal.

    Args:
        batches: with ``next_batch`` in their state.
        sides_px: of the images in each part but the last, which stays as it comes.
        total_batches: of the training.
    """

    def __init__(
        self, batches: grain.DatasetIterator, sides_px: tuple[int, ...], total_batches: int
    ):
        super().__init__()
        self._batches, self._sides_px, self._total = batches, sides_px, total_batches

    def __next__(self) -> dict[str, np.ndarray]:
        number = self._batches.get_state()["next_batch"]
        batch = next(self._batches)
        side = side_px(number, self._sides_px, self._total)
        return batch if side is None else batch | {"image": shrunk(batch["image"], side)}

    def get_state(self) -> dict[str, Any]:
        return self._batches.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        self._batches.set_state(state)

    def start_prefetch(self) -> None:
        self._batches.start_prefetch()

    def close(self) -> None:
        self._batches.close()
        super().close()


def side_px(number: int, sides_px: tuple[int, ...], total_batches: int) -> int | None:
    """The side of the images of a batch by its number from 0; None: as they come.

    >>> [side_px(number, (8, 12), 6) for number in range(7)]
    [8, 8, 12, 12, None, None, None]
    """
    part = number * (len(sides_px) + 1) // total_batches
    return sides_px[part] if part < len(sides_px) else None


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """The images at a smaller size, uint8 (batch, side, side, channels), pixels averaged."""
    sized = np.empty((len(images), side, side, images.shape[-1]), np.uint8)
    for place, image in enumerate(images):
        resized = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        sized[place] = resized.reshape(sized.shape[1:])
    return sized
