"""Batches of images with boxes and masks: resizing, mirroring, canvases of two shapes.

An image is resized to a short side, or a smaller one where its long side would pass a limit, and
lies at the top left corner of a canvas, zeros around it. Images that are higher than wide have an
upright canvas, the others one that lies; batches hold one kind, so that a step is compiled for two
shapes and no more. Which kind batch t holds is a function of t: both come as often as their images.
"""

import dataclasses
import json
from collections.abc import Generator
from typing import Any

import cv2
import grain
import numpy as np

from deepmad_jax.config import DataConfig, DetectConfig
from deepmad_jax.data import stream
from deepmad_jax.data.chunks import Chunk, Maker, Reading
from deepmad_jax.data.coco import CocoDataset, CocoSource
from deepmad_jax.data.coco_index import Annotated
from deepmad_jax.data.coco_masks import mask_in_box
from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.data.images import resized_size
from deepmad_jax.data.iterator import Batch, Batches
from deepmad_jax.data.reading import reading_of

DIVISOR = 32
"""Of a canvas's sides: the coarsest map of a backbone has one pixel for as many."""

PADDING = -1
"""Label of the boxes that fill an array up."""


def train_batches(
    dataset: CocoDataset,
    config: DataConfig,
    detect: DetectConfig,
    *,
    masks: bool = False,
    batch_size: int,
    seed: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> grain.DatasetIterator:
    """Endless batches of this process.

    Each has ``image`` (b, H, W, 3) uint8, ``size`` (b, 2) int32, height and width of the image on
    its canvas, ``boxes`` (b, m, 4) float32, ``label`` (b, m) int32, ``ratio`` and ``index`` as in
    the evaluation, and ``key`` as `stream.endless` has it; with ``masks``, ``masks``
    (b, m, s, s) uint8, each object in the square that its box becomes. There are `num_canvases`
    pairs of H and W.

    Args:
        dataset: what to read.
        config: ``flip``, ``workers`` and ``corrupt_share``.
        detect: sides, ``most_boxes`` and ``mask_px``.
        masks: whether they are wanted.
        batch_size: over all processes; b is this process's share.
        seed: of order and augmentation.
        process_index, process_count: this process among those that train; None asks JAX.
    """
    kinds = []
    for upright in (False, True):
        source = dataset.train.only(upright)
        if len(source):
            reading = _reading(dataset.name, upright, config, process_index, process_count)
            canvas = canvas_of(detect, max(detect.short_sides), upright)
            samples = Boxed(detect, canvas, config.flip, masks)
            batches = stream.endless(source, samples, reading, batch_size=batch_size, seed=seed)
            kinds.append((len(source), batches))
    return kinds[0][1] if len(kinds) == 1 else Alternating(*kinds[0], *kinds[1])


def eval_batches(
    dataset: CocoDataset,
    config: DataConfig,
    detect: DetectConfig,
    *,
    batch_size: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Generator[Batch, None, None]:
    """Batches that hold every image with ``mask`` 1 exactly once; see `stream.once`.

    Each has ``image`` and ``size`` as in training, ``ratio`` (b, 2) float32, pixels of the canvas
    per pixel of the image down and across, and ``index`` (b,), the image's place in the
    annotations. Those of one canvas come after the other's.
    """
    for upright in (False, True):
        source = dataset.evaluation.only(upright)
        if len(source):
            reading = _reading(dataset.name, upright, config, process_index, process_count)
            samples = Boxed(detect, canvas_of(detect, detect.eval_short_side, upright))
            batches = stream.once(source, samples, reading, batch_size=batch_size)
            try:
                yield from batches
            finally:
                batches.close()


def _reading(
    name: str, upright: bool, config: DataConfig, index: int | None, count: int | None
) -> Reading:
    # Corrupt images are counted by kind, and the message about too many says of which.
    return reading_of(f"{name} ({'upright' if upright else 'lying'})", config, index, count)


def num_canvases(source: CocoSource) -> int:
    """Shapes that the batches of a source have: 2 where it has images of both kinds."""
    return sum(len(source.only(upright)) > 0 for upright in (False, True))


class Alternating(grain.DatasetIterator[Batch]):
    """Batches of two kinds of images, each as often as it has images.

    After t batches ``t n_2 // (n_1 + n_2)`` were of the second kind, so the place is t alone.

    Args:
        number, batches: of the first kind.
        other_number, other_batches: of the second kind.
    """

    def __init__(self, number: int, batches: Batches, other_number: int, other_batches: Batches):
        super().__init__()
        self._numbers, self._kinds = (number, other_number), (batches, other_batches)
        self._done = 0

    def __next__(self) -> Batch:
        second = self._seconds(self._done + 1) > self._seconds(self._done)
        batch = next(self._kinds[second])
        self._done += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """Batches handed out, and the place in each kind."""
        return {"done": self._done, "kinds": [kind.get_state() for kind in self._kinds]}

    def set_state(self, state: dict[str, Any]) -> None:
        self._done = state["done"]
        for kind, place in zip(self._kinds, state["kinds"], strict=True):
            kind.set_state(place)

    def close(self) -> None:
        """Ends the worker processes, if there are any."""
        for kind in self._kinds:
            kind.close()
        super().close()

    def __str__(self) -> str:
        return f"Alternating({json.dumps(self.get_state())})"

    def _seconds(self, batches: int) -> int:
        return batches * self._numbers[1] // sum(self._numbers)


@dataclasses.dataclass(frozen=True)
class Boxed:
    """`stream.Samples` of an image on its canvas and its boxes.

    Attributes:
        detect: sides, and ``most_boxes``.
        canvas: height and width.
        flip: probability of mirroring, in training.
        masks: whether training batches have them.
    """

    detect: DetectConfig
    canvas: tuple[int, int]
    flip: float = 0.0
    masks: bool = False

    def empty(self, length: int) -> Chunk:
        most = self.detect.most_boxes
        side = self.detect.mask_px
        masks = {"masks": np.zeros((length, most, side, side), np.uint8)} if self.masks else {}
        return masks | {
            "image": np.zeros((length, *self.canvas, 3), np.uint8),
            "size": np.zeros((length, 2), np.int32),
            "ratio": np.ones((length, 2), np.float32),
            "index": np.zeros(length, np.int32),
            "boxes": np.zeros((length, most, 4), np.float32),
            "label": np.full((length, most), PADDING, np.int32),
        }

    def maker(self) -> Maker:
        detect = self.detect

        def make(chunk: Chunk, slot: int, element: Any, rng: np.random.Generator | None) -> None:
            image = decode(element["image"], 3)
            annotated: Annotated = element["annotated"]
            if image.shape[:2] != (annotated.height, annotated.width):
                raise CorruptImage(
                    f"it has {image.shape[1]}x{image.shape[0]} pixels, but its annotations say "
                    f"{annotated.width}x{annotated.height}"
                )
            short = detect.eval_short_side
            mirrored = False
            if rng is not None:
                sides = detect.short_sides
                short = sides[int(rng.random() * len(sides))]
                mirrored = rng.random() < self.flip
            height, width = resized_size(*image.shape[:2], short, detect.long_side)
            chosen = most_of(annotated, detect.most_boxes)
            # Before anything else is written: an image that fails here leaves the slot empty.
            if self.masks:
                masks = _masks(annotated, chosen, detect.mask_px, mirrored)
                chunk["masks"][slot, : len(chosen)] = masks
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            chunk["image"][slot, :height, :width] = image[:, ::-1] if mirrored else image
            chunk["size"][slot] = height, width
            chunk["ratio"][slot] = height / annotated.height, width / annotated.width
            chunk["index"][slot] = element["index"]
            boxes = scaled(annotated, (height, width), mirrored)[chosen]
            chunk["boxes"][slot, : len(chosen)] = boxes
            chunk["label"][slot, : len(chosen)] = annotated.labels[chosen]

        return make


def most_of(annotated: Annotated, most: int) -> np.ndarray:
    """Places of the objects that are learned: the largest, where there are more than ``most``."""
    usable = np.flatnonzero(annotated.usable())
    if len(usable) <= most:
        return usable
    largest = np.argsort(-annotated.areas[usable], kind="stable")[:most]
    return usable[np.sort(largest)]


def scaled(annotated: Annotated, size: tuple[int, int], mirrored: bool) -> np.ndarray:
    """The boxes of an image of ``size``, mirrored or not, cut off at its edges."""
    height, width = size
    factor = np.array([width / annotated.width, height / annotated.height] * 2, np.float32)
    x1, y1, x2, y2 = (_on_image(annotated) * factor).T
    return np.stack([width - x2, y1, width - x1, y2] if mirrored else [x1, y1, x2, y2], 1)


def _masks(annotated: Annotated, chosen: np.ndarray, side: int, mirrored: bool) -> np.ndarray:
    """Of each chosen object the square that its box becomes; raises `CorruptImage`."""
    boxes, size = _on_image(annotated), (annotated.height, annotated.width)
    masks = np.zeros((len(chosen), side, side), np.uint8)
    for place, i in enumerate(chosen):
        try:
            masks[place] = mask_in_box(annotated.segmentations[i], boxes[i], *size, side, mirrored)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise CorruptImage(f"the segmentation of an object is broken: {error}") from error
    return masks


def _on_image(annotated: Annotated) -> np.ndarray:
    """The boxes, cut off at the edges of the image."""
    most = np.array([annotated.width, annotated.height] * 2, np.float32)
    return np.clip(annotated.boxes, 0, most)


def canvas_of(detect: DetectConfig, short: int, upright: bool) -> tuple[int, int]:
    """Height and width of the canvas for images of such a short side."""
    # An image of square size fits too: its long side is its short one.
    short, long = (-(-side // DIVISOR) * DIVISOR for side in (short, max(short, detect.long_side)))
    return (long, short) if upright else (short, long)
