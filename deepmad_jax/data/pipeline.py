"""The road from a source to batches, in Grain: order, shards, framing, augmentation, batching.

Training is one endless stream: every epoch is a new permutation of all images, and batches run
across the end of an epoch, so none is dropped. Process p of k takes every k-th image of that one
stream, so step t has the same images whatever k is. Batches are formed before reading ahead, so
they are the same for any number of worker processes too. Augmentation draws from a generator
seeded by (seed, position in the stream).

Evaluation sees every image once, in order; the last batch is filled up with images of mask 0.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from deepmad_jax.config import DataConfig
from deepmad_jax.data import images
from deepmad_jax.data.dataset import Dataset, Source
from deepmad_jax.errors import InvalidConfig, did_you_mean

AUGMENTATIONS = ("crop", "shift", "none")
"""What ``config.data.train_augment`` may be."""

READ_THREADS = 4
"""Batches made at the same time, and as many again wait. Decoding and resizing leave the GIL."""

Element = Mapping[str, Any]


def train_batches(
    dataset: Dataset,
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> grain.DatasetIterator:
    """Endless batches ``{"image": (b, r, r, c) uint8, "label": (b,) int32}`` of this process.

    The iterator's ``get_state`` and ``set_state`` say and set the place in the stream; the number
    of workers is part of it.

    Args:
        dataset: what to read.
        config: ``train_augment``, ``eval_crop`` (frames images where augmentation does not) and
            ``workers``.
        batch_size: over all processes; b is this process's share.
        seed: of order and augmentation.
        process_index, process_count: this process among those that train; None asks JAX.
    """
    if config.train_augment not in AUGMENTATIONS:
        raise InvalidConfig(
            f"config.data.train_augment is {config.train_augment!r}; "
            f"{did_you_mean(config.train_augment, AUGMENTATIONS)}"
        )
    index, count = _place(process_index, process_count)
    stream = (
        grain.MapDataset.source(dataset.train)
        .seed(seed % 2**32)
        .shuffle()
        .random_map(functools.partial(_train_element, _Frame.of(dataset, config), config))
        .repeat()
    )
    # The stream has no remainder, but rounding its length up overflows for batches of one.
    mine = stream[index::count].batch(_share(batch_size, count), drop_remainder=True)
    return _read(mine, config.workers)


def eval_batches(
    dataset: Dataset,
    config: DataConfig,
    *,
    batch_size: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> grain.DatasetIterator:
    """Batches ``{"image", "label", "mask": (b,) float32}``; every image has mask 1 exactly once.

    All batches have the same shape, and every process gets the same number of them.

    Args:
        dataset: what to read.
        config: ``eval_crop`` and ``workers``.
        batch_size: over all processes.
        process_index, process_count: as in `train_batches`.
    """
    index, count = _place(process_index, process_count)
    padded = _Padded(dataset.evaluation, -(-len(dataset.evaluation) // batch_size) * batch_size)
    stream = grain.MapDataset.source(padded).map(
        functools.partial(_eval_element, _Frame.of(dataset, config))
    )
    return _read(stream[index::count].batch(_share(batch_size, count)), config.workers)


def _place(process_index: int | None, process_count: int | None) -> tuple[int, int]:
    if process_index is None or process_count is None:
        return jax.process_index(), jax.process_count()
    return process_index, process_count


def _share(batch_size: int, process_count: int) -> int:
    if batch_size % process_count:
        raise InvalidConfig(
            f"A batch of {batch_size} images cannot be shared evenly by {process_count} processes: "
            f"choose a multiple of {process_count}."
        )
    return batch_size // process_count


def _read(batches: grain.MapDataset, workers: int) -> grain.DatasetIterator:
    if not workers:
        return iter(batches.to_iter_dataset(grain.ReadOptions(READ_THREADS, READ_THREADS)))
    # Grain hands absl's flags to its workers, and fails where nobody has parsed any.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers)
    return iter(batches.to_iter_dataset(grain.ReadOptions(1, 1)).mp_prefetch(options))


@dataclasses.dataclass(frozen=True)
class _Frame:
    """How an image becomes a square: see `Dataset.framed` and ``DataConfig.eval_crop``."""

    resolution_px: int
    channels: int
    centre_share: float | None

    @classmethod
    def of(cls, dataset: Dataset, config: DataConfig) -> "_Frame":
        if not 0 < config.eval_crop <= 1:
            raise InvalidConfig(
                f"config.data.eval_crop is {config.eval_crop}, but must be in (0, 1]."
            )
        share = None if dataset.framed else config.eval_crop
        return cls(dataset.resolution_px, dataset.channels, share)

    def centre(self, image: bytes | np.ndarray) -> np.ndarray:
        if self.centre_share is None:
            return np.asarray(image)
        pillow = images.to_pillow(image, self.channels)
        box = images.centre_box(*pillow.size, self.centre_share)
        return images.cut(pillow, box, self.resolution_px, self.channels)

    def random(self, image: bytes | np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pillow = images.to_pillow(image, self.channels)
        box = images.random_box(rng, *pillow.size)
        return images.cut(pillow, box, self.resolution_px, self.channels)


def _train_element(
    frame: _Frame, config: DataConfig, element: Element, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    if config.train_augment == "crop":
        image = images.random_flip(rng, frame.random(element["image"], rng))
    else:
        image = frame.centre(element["image"])
        if config.train_augment == "shift":
            image = images.random_shift(rng, image)
    return {"image": image, "label": np.int32(element["label"])}


def _eval_element(frame: _Frame, element: Element) -> dict[str, np.ndarray]:
    return {
        "image": frame.centre(element["image"]),
        "label": np.int32(element["label"]),
        "mask": np.float32(element["mask"]),
    }


@dataclasses.dataclass(frozen=True)
class _Padded:
    """A source made longer by repeating its last element, with ``mask`` 1 for real ones, else 0."""

    source: Source
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        real = index < len(self.source)
        element = self.source[index if real else len(self.source) - 1]
        return {**element, "mask": float(real)}
