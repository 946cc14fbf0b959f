"""Generated images that a network can learn, for dry runs where no data set is at hand."""

import dataclasses
from typing import Any

import numpy as np

from deepmad_jax.data.dataset import GREY_MEAN, GREY_STD, Dataset
from deepmad_jax.errors import InvalidConfig

NOISE = 32
"""Largest distance of a pixel from the mean colour, of 255."""


def open_fake(num_images: int, resolution_px: int, channels: int, classes: int) -> Dataset:
    """``num_images`` training images and an eighth as many others for evaluation."""
    if num_images < 1:
        raise InvalidConfig(f"config.data.fake_images is {num_images}, but must be at least 1.")
    shape = (resolution_px, channels, classes)
    return Dataset(
        name="fake",
        train=FakeSource(num_images, *shape, seed=0),
        evaluation=FakeSource(max(1, num_images // 8), *shape, seed=1),
        channels=channels,
        classes=classes,
        mean=(GREY_MEAN,) * channels,
        std=(GREY_STD,) * channels,
        resolution_px=resolution_px,
        framed=True,
    )


@dataclasses.dataclass(frozen=True)
class FakeSource:
    """Noise around a mean colour that is the label's, made when asked for; same seed, same images.

    >>> source = FakeSource(num_images=4, resolution_px=8, channels=3, classes=2, seed=0)
    >>> source[3]["label"], source[3]["image"].shape
    (1, (8, 8, 3))
    """

    num_images: int
    resolution_px: int
    channels: int
    classes: int
    seed: int

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> dict[str, Any]:
        label = index % self.classes
        rng = np.random.default_rng((self.seed, index))
        size = (self.resolution_px, self.resolution_px, self.channels)
        image = self._colour(label) + rng.integers(-NOISE, NOISE + 1, size=size)
        return {"image": np.clip(image, 0, 255).astype(np.uint8), "label": label}

    def name_of(self, index: int) -> str:
        return f"image {index}"

    def _colour(self, label: int) -> np.ndarray:
        # A lattice in the cube of channels, just fine enough for all classes: shape (channels,).
        levels = 1
        while levels**self.channels < self.classes:
            levels += 1
        place = label // levels ** np.arange(self.channels) % levels
        return np.floor(255 * (place + 0.5) / levels).astype(int)
