"""What an opened data set is, whatever it was opened from."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's training images, values in [0, 1]; used for every TFDS set in colour."""

GREY_MEAN, GREY_STD = 0.5, 0.25
"""Used for generated images and for TFDS sets that are not in colour."""


class Source(Protocol):
    """A random-access sequence of elements ``{"image": ..., "label": int}``.

    The image is a uint8 array (height, width, channels) or the bytes of a JPEG or PNG file. Worker
    processes get a copy, so a source can be pickled.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    def name_of(self, index: int) -> str:
        """What a message calls this element, such as the name of its file."""
        ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An opened data set: nothing large has been read yet.

    Attributes:
        name: for messages.
        train, evaluation: the images and labels.
        channels, classes: of the images and labels.
        mean, std: per channel, of values in [0, 1], for normalisation on the device.
        resolution_px: side of the images the network wants.
        framed: the images have that side already, so the evaluation does not cut them.
    """

    name: str
    train: Source
    evaluation: Source
    channels: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution_px: int
    framed: bool
