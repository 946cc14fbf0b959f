"""The 1,797 handwritten digits that ship inside scikit-learn: real images without a download.

8x8 values 0-16, enlarged to the network's resolution; 1,437 for training, 360 for testing, the same
share of every digit in both, always the same split.
"""

import dataclasses
from typing import Any

import numpy as np

from deepmad_jax.data.dataset import Dataset

DIGITS_MEAN, DIGITS_STD = 0.305, 0.319
"""Of the training images at 16 pixels (tests/data/test_sources.py)."""

TEST_IMAGES, SPLIT_SEED = 360, 0


def open_digits(resolution_px: int) -> Dataset:
    """Digits enlarged to ``resolution_px``, one channel, ten classes."""
    # Imported here: scikit-learn takes a second, which other sources need not pay.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = resize_bilinear(images.reshape(-1, 8, 8) / 16.0, resolution_px)
    images = np.round(255.0 * images).astype(np.uint8)[..., None]
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        labels.astype(np.int32),
        test_size=TEST_IMAGES,
        stratify=labels,
        random_state=SPLIT_SEED,
    )
    return Dataset(
        name="digits",
        train=ArraySource(train_images, train_labels),
        evaluation=ArraySource(test_images, test_labels),
        channels=1,
        classes=10,
        mean=(DIGITS_MEAN,),
        std=(DIGITS_STD,),
        resolution_px=resolution_px,
        framed=True,
    )


def resize_bilinear(images: np.ndarray, resolution_px: int) -> np.ndarray:
    """Square images enlarged by bilinear interpolation between pixel centres, edges repeated.

    Args:
        images: real, shape (n, side, side).
        resolution_px: the new side; not meant for shrinking (it does not antialias).

    >>> resize_bilinear(np.array([[[0.0, 1.0], [0.0, 1.0]]]), 4)[0, 0]
    array([0.  , 0.25, 0.75, 1.  ])
    """
    side = images.shape[1]
    centres = (np.arange(resolution_px) + 0.5) * side / resolution_px - 0.5
    position = np.clip(centres, 0, side - 1)
    # Row r holds the weights of the old pixels in the new pixel r: a tent around its position.
    weight = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(side)))
    return np.einsum("ri,nij,cj->nrc", weight, images, weight)


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """Images and labels that lie in memory: shapes (n, height, width, channels) and (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "label": self.labels[index]}

    def name_of(self, index: int) -> str:
        return f"image {index}"
