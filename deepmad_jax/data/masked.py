"""Batches of images whose pixels have classes: crops to learn from, whole images to be judged by.

A training image is resized by a random factor, cut to a square in which no class has too large a
share, mirrored, and its light changed. An evaluation image is resized to one of a few shapes, so
that the network is compiled for those alone; its label stays as it is, at the top left corner of a
canvas that holds every label of the images of that shape.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import cv2
import grain
import numpy as np

from deepmad_jax.config import DataConfig, SegmentConfig
from deepmad_jax.data import stream
from deepmad_jax.data.chunks import Chunk, Maker
from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.data.images import resized_size
from deepmad_jax.data.iterator import Batch
from deepmad_jax.data.pairs import IGNORED, PairDataset, PairSource, label_pixels
from deepmad_jax.data.photometric import distort
from deepmad_jax.data.reading import reading_of
from deepmad_jax.errors import UserError

CROPS_TRIED = 10

DIVISOR = 32
"""Of the sides of evaluation images: the coarsest map of a backbone has one pixel for as many."""

LABEL_DIVISOR = 16
"""Of a label canvas's sides."""

Size = tuple[int, int]
"""Height and width, pixels."""


@dataclasses.dataclass(frozen=True)
class Form:
    """What evaluation images that are compiled together have in common.

    Attributes:
        sizes: of the images, by scale.
        canvas: of their labels.
    """

    sizes: tuple[Size, ...]
    canvas: Size


def train_batches(
    dataset: PairDataset,
    config: DataConfig,
    segment: SegmentConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> grain.DatasetIterator:
    """Endless batches of this process.

    Each has ``image`` (b, crop, crop, 3) uint8, ``size`` (b, 2) int32, what of the canvas is image,
    ``label`` (b, crop, crop) uint8, ``index`` (b,) int32, and ``key`` as `stream.endless` has it.

    Args:
        dataset: what to read.
        config: ``flip``, ``workers`` and ``corrupt_share``.
        segment: sides, crops and light.
        batch_size: over all processes; b is this process's share.
        seed: of order and augmentation.
        process_index, process_count: this process among those that train; None asks JAX.
    """
    reading = reading_of(dataset.name, config, process_index, process_count)
    samples = Crops(segment, config.flip)
    return stream.endless(dataset.train, samples, reading, batch_size=batch_size, seed=seed)


def eval_batches(
    dataset: PairDataset,
    config: DataConfig,
    segment: SegmentConfig,
    *,
    batch_size: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Iterator[Batch]:
    """Batches that hold every image with ``mask`` 1 exactly once; see `stream.once`.

    Each has ``image0``, ``image1``, ... uint8, the image at each scale, ``label`` uint8 on its
    canvas, ``size`` (b, 2) int32, what of that is label, and ``index`` (b,), the image's place in
    its split. Those of one `Form` come after another's.
    """
    reading = reading_of(dataset.name, config, process_index, process_count)
    for form, source in forms_of(dataset.evaluation, segment):
        batches = stream.once(source, Wholes(segment, form), reading, batch_size=batch_size)
        try:
            yield from batches
        finally:
            batches.close()


def forms_of(source: PairSource, segment: SegmentConfig) -> list[tuple[Form, PairSource]]:
    """Every form that a source's images have, and its images."""
    numbers: dict[tuple[Size, ...], list[int]] = {}
    for number in source.numbers:
        numbers.setdefault(eval_sizes(source.sizes[number], segment), []).append(number)
    forms = []
    for sizes, some in sorted(numbers.items()):
        sides = zip(*(source.sizes[number] for number in some), strict=True)
        height, width = (-(-max(side) // LABEL_DIVISOR) * LABEL_DIVISOR for side in sides)
        forms.append((Form(sizes, (height, width)), source.only(some)))
    return forms


def eval_sizes(size: Size, segment: SegmentConfig) -> tuple[Size, ...]:
    """What an image of ``size`` is resized to, by scale.

    >>> eval_sizes((600, 800), SegmentConfig()), eval_sizes((800, 601), SegmentConfig(aspects=()))
    (((512, 672),), ((682, 512),))
    """
    found = []
    for scale in segment.scales:
        short, long = scale * segment.short_side, scale * segment.long_side
        if not segment.aspects:
            found.append(resized_size(*size, short, long))
            continue
        ratio = math.log(max(size) / min(size))
        aspect = min(segment.aspects, key=lambda known: abs(math.log(known) - ratio))
        fits = min(short, long / aspect)
        sides = [max(1, round(side / DIVISOR)) * DIVISOR for side in (fits, fits * aspect)]
        found.append((sides[1], sides[0]) if size[0] > size[1] else (sides[0], sides[1]))
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class Crops:
    """`stream.Samples` for training.

    Attributes:
        segment: sides, crops and light.
        flip: probability of mirroring.
    """

    segment: SegmentConfig
    flip: float

    def empty(self, length: int) -> Chunk:
        crop = self.segment.crop
        return {
            "image": np.zeros((length, crop, crop, 3), np.uint8),
            "size": np.zeros((length, 2), np.int32),
            "label": np.full((length, crop, crop), IGNORED, np.uint8),
            "index": np.zeros(length, np.int32),
        }

    def maker(self) -> Maker:
        segment = self.segment

        def make(chunk: Chunk, slot: int, element: Any, rng: np.random.Generator | None) -> None:
            image, label = decoded(element, segment)
            if rng is None:  # it was only to be seen whether the image can be read
                return
            least, most = segment.scale_range
            factor = rng.uniform(least, most)
            sides = factor * segment.short_side, factor * segment.long_side
            size = resized_size(*label.shape, *sides)
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
            label = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)
            top, left = choose_crop(rng, label, segment.crop, segment.class_share)
            part = np.s_[top : top + segment.crop, left : left + segment.crop]
            image, label = image[part], label[part]
            if rng.random() < self.flip:
                image, label = np.ascontiguousarray(image[:, ::-1]), label[:, ::-1]
            if segment.distort:
                image = distort(rng, image)
            height, width = label.shape
            # The slot may hold an image that was left out half-made.
            chunk["label"][slot] = IGNORED
            chunk["image"][slot, :height, :width] = image
            chunk["label"][slot, :height, :width] = label
            chunk["size"][slot] = height, width
            chunk["index"][slot] = element["index"]

        return make


@dataclasses.dataclass(frozen=True)
class Wholes:
    """`stream.Samples` for the evaluation of images of one form."""

    segment: SegmentConfig
    form: Form

    def empty(self, length: int) -> Chunk:
        images = {
            f"image{i}": np.zeros((length, *size, 3), np.uint8)
            for i, size in enumerate(self.form.sizes)
        }
        return images | {
            "label": np.full((length, *self.form.canvas), IGNORED, np.uint8),
            "size": np.ones((length, 2), np.int32),
            "index": np.zeros(length, np.int32),
        }

    def maker(self) -> Maker:
        def make(chunk: Chunk, slot: int, element: Any, rng: np.random.Generator | None) -> None:
            image, label = decoded(element, self.segment)
            for i, size in enumerate(self.form.sizes):
                chunk[f"image{i}"][slot] = _at(image, size)
            height, width = label.shape
            chunk["label"][slot, :height, :width] = label
            chunk["size"][slot] = height, width
            chunk["index"][slot] = element["index"]

        return make


def decoded(element: Any, segment: SegmentConfig) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 (height, width, 3), and its classes, uint8 (height, width).

    An element without a label gets one that says nothing.

    Raises:
        CorruptImage: one of them cannot be read.
        UserError: they have different sizes, or a value is no class.
    """
    image = decode(element["image"], 3)
    if element["label"] is None:
        return image, np.full(image.shape[:2], IGNORED, np.uint8)
    values = label_pixels(element["label"], element["name"])
    if values.shape != image.shape[:2]:
        raise CorruptImage(
            f"it has {image.shape[1]}x{image.shape[0]} pixels, but its label "
            f"{values.shape[1]}x{values.shape[0]}"
        )
    return image, classes_of(values, element["name"], segment)


def classes_of(values: np.ndarray, name: str, segment: SegmentConfig) -> np.ndarray:
    """The classes of a label's values: counted from 0, `IGNORED` where there is none."""
    # In uint8 the ignored 0 wraps around to 255, and 255 stays what it is.
    first = int(segment.zero_ignored)
    classes = np.where(values == IGNORED, IGNORED, values - first) if first else values
    wrong = (classes >= segment.classes) & (classes != IGNORED)
    if wrong.any():
        raise UserError(
            f"{name} has the value {int(values[wrong].max())}, but there are {segment.classes} "
            f"classes, from {first} on, and 255 for none: set --config.segment.classes, or "
            "--config.segment.zero_ignored."
        )
    return classes


def choose_crop(
    rng: np.random.Generator, label: np.ndarray, crop: int, most: float
) -> tuple[int, int]:
    """Top and left of a crop in which no class has ``most`` of the labelled pixels or more.

    Of ten draws the first that does, or else the last. One class alone never does.
    """
    height, width = label.shape
    for _ in range(CROPS_TRIED):
        top = int(rng.integers(max(height - crop, 0) + 1))
        left = int(rng.integers(max(width - crop, 0) + 1))
        if most >= 1.0:
            break
        part = label[top : top + crop, left : left + crop]
        counts = np.bincount(part.ravel(), minlength=IGNORED + 1)[:IGNORED]
        if np.count_nonzero(counts) > 1 and counts.max() < most * counts.sum():
            break
    return top, left


def _at(image: np.ndarray, size: Size) -> np.ndarray:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
