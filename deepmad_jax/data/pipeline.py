"""The road from a source to batches: order, shares of processes, framing, augmentation, batching.

Training is one endless stream: every epoch is a new permutation of all images, and batches run
across the end of an epoch, so none is dropped. Process p of k takes every k-th image of that one
stream, so step t has the same images whatever k is. Everything drawn for an image comes from a
generator seeded by (seed, place in the stream). So batch t is a function of (seed, t) alone: the
number of worker processes changes nothing, and the iterator's state is t.

Evaluation sees every image once, in order; the last batch is filled up with images of mask 0.

Grain moves the data: workers make chunks of a batch, not single images, because its cost an element
(about 110 us) is a tenth of decoding one; the main process only joins chunks.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from deepmad_jax.config import DataConfig
from deepmad_jax.data import images
from deepmad_jax.data.augment import augmentation
from deepmad_jax.data.corrupt import NOT_CORRUPT, CorruptData, Tally
from deepmad_jax.data.dataset import Dataset, Source
from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.data.iterator import Batches
from deepmad_jax.errors import InvalidConfig, did_you_mean

FRAMINGS = ("crop", "shift", "none")
"""What ``config.data.train_augment`` may be."""

READ_THREADS = 4
"""Chunks made ahead without workers, and as many of them at the same time as there are cores.
Decoding leaves the GIL."""

MOST_IN_CHUNK = 64
"""Images that one worker makes at a time: enough that Grain's cost is spread, few enough that all
workers share in the first batch."""

MOST_ATTEMPTS = 100
"""Corrupt images in a row after which the data set is taken for broken."""

SCRATCH_BYTES = 2**22
"""Decoded images up to this size, 1.4 megapixels in colour, share the memory of a chunk's maker."""

Chunk = dict[str, np.ndarray]


def train_batches(
    dataset: Dataset,
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Batches:
    """Endless batches of this process: ``image`` (b, r, r, c) uint8, ``label`` (b,) int32, and
    ``key`` (b, 2) uint32, random bits for what is drawn on the device.

    The iterator's ``get_state`` and ``set_state`` say and set the place in the stream.

    Args:
        dataset: what to read.
        config: framing, augmentation, ``workers`` and ``corrupt_share``.
        batch_size: over all processes; b is this process's share.
        seed: of order and augmentation.
        process_index, process_count: this process among those that train; None asks JAX.
    """
    if config.train_augment not in FRAMINGS:
        raise InvalidConfig(
            f"config.data.train_augment is {config.train_augment!r}; "
            f"{did_you_mean(config.train_augment, FRAMINGS)}"
        )
    index, count = _place(process_index, process_count)
    share = _share(batch_size, count)
    fill = tuple(round(255 * value) for value in dataset.mean)
    # Parsed here once, so that a bad policy fails before anything is read.
    augmentation(config.auto_augment, config.color_jitter, fill)
    chunks = _TrainChunks(
        dataset, config, fill, seed % 2**32, chunk=_chunk_size(share), index=index, count=count
    )
    tally = Tally(dataset.name, dataset.train, config.corrupt_share)
    return Batches(functools.partial(_read, chunks, share, config.workers), tally)


def eval_batches(
    dataset: Dataset,
    config: DataConfig,
    *,
    batch_size: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Batches:
    """Batches ``{"image", "label", "mask": (b,) float32}``; every image has mask 1 exactly once.

    All batches have the same shape, and every process gets the same number of them. An image that
    cannot be read has mask 0.

    Args:
        dataset: what to read.
        config: ``eval_crop``, ``workers`` and ``corrupt_share``.
        batch_size: over all processes.
        process_index, process_count: as in `train_batches`.
    """
    index, count = _place(process_index, process_count)
    share = _share(batch_size, count)
    num_batches = -(-len(dataset.evaluation) // batch_size)
    chunks = _EvalChunks(
        dataset, config.eval_crop, num_batches * share, _chunk_size(share), index, count
    )
    tally = Tally(dataset.name, dataset.evaluation, config.corrupt_share)
    return Batches(functools.partial(_read, chunks, share, config.workers), tally)


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


def _chunk_size(share: int) -> int:
    """The largest divisor of a process's share up to `MOST_IN_CHUNK`; all of it if that is tiny.

    >>> _chunk_size(2048), _chunk_size(96), _chunk_size(5), _chunk_size(509)
    (64, 48, 5, 509)
    """
    divisor = max(d for d in range(1, MOST_IN_CHUNK + 1) if share % d == 0)
    return divisor if 8 * divisor >= min(share, MOST_IN_CHUNK) else share


def _read(chunks: Any, share: int, workers: int, first_batch: int) -> grain.DatasetIterator:
    """Batches of ``share`` images from batch ``first_batch`` on."""
    in_batch = share // chunks.chunk
    stream = grain.MapDataset.source(chunks)[first_batch * in_batch :]
    if workers:
        # Grain hands absl's flags to its workers, and fails where nobody has parsed any.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        moving = stream.to_iter_dataset(grain.ReadOptions(1, 1)).mp_prefetch(options)
    else:
        # Threads that share one core cost a twentieth of it.
        threads = min(READ_THREADS, _cores())
        moving = stream.to_iter_dataset(grain.ReadOptions(threads, READ_THREADS))
    if in_batch > 1:
        moving = moving.batch(in_batch, batch_fn=_join)
        # In a thread: joining a batch of 2048 images at 224 pixels takes tens of milliseconds.
        moving = grain.experimental.ThreadPrefetchIterDataset(moving, prefetch_buffer_size=1)
    return iter(moving)


def _cores() -> int:
    """Those that this process may use; fewer than the machine's where it is pinned."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _join(chunks: Sequence[Chunk]) -> Chunk:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


@dataclasses.dataclass(frozen=True)
class _TrainChunks:
    """Chunk i of one process's part of the stream: images i * chunk to (i + 1) * chunk - 1."""

    dataset: Dataset
    config: DataConfig
    fill: tuple[int, ...]
    seed: int
    chunk: int
    index: int
    count: int

    def __len__(self) -> int:
        return sys.maxsize  # endless, as Grain writes it

    def __getitem__(self, place: int) -> Chunk:
        source, size = self.dataset.train, len(self.dataset.train)
        batch = _empty(self.dataset, self.chunk)
        keys = np.zeros(self.chunk, np.uint64)
        draws, scratch = Draws(self.seed), np.empty(SCRATCH_BYTES, np.uint8)
        augment = augmentation(self.config.auto_augment, self.config.color_jitter, self.fill)
        for slot in range(self.chunk):
            in_stream = (place * self.chunk + slot) * self.count + self.index
            epoch, in_epoch = divmod(in_stream, size)
            number = int(_permutation(self.seed, epoch, size)[in_epoch])
            rng = draws.at(in_stream)
            keys[slot] = rng.bit_generator.random_raw()
            out = batch["image"][slot]
            # The next image takes the place of a corrupt one.
            for attempt in range(MOST_ATTEMPTS + 1):
                if attempt == MOST_ATTEMPTS:
                    raise CorruptData(
                        f"{attempt} images in a row of {self.dataset.name} cannot be read, from "
                        f"{source.name_of(number)} on: prepare the data again."
                    )
                try:
                    element = source[(number + attempt) % size]
                    image = self._framed(rng, element["image"], scratch, out)
                except CorruptImage:
                    if batch["corrupt"][slot] == NOT_CORRUPT:
                        batch["corrupt"][slot] = number
                    continue
                if self.config.train_augment != "none":
                    image = augment(rng, images.random_flip(rng, image, self.config.flip))
                if image is not out:
                    out[...] = image
                batch["label"][slot] = element["label"]
                break
        return batch | {"key": keys.view(np.uint32).reshape(-1, 2)}

    def _framed(
        self,
        rng: np.random.Generator,
        image: bytes | np.ndarray,
        scratch: np.ndarray,
        out: np.ndarray,
    ) -> np.ndarray:
        if self.config.train_augment == "crop":
            return images.random_cut(
                rng,
                image,
                channels=self.dataset.channels,
                resolution_px=self.dataset.resolution_px,
                scale_min=self.config.crop_scale_min,
                interpolation=self.config.crop_interpolation,
                scratch=scratch,
                out=out,
            )
        framed = _centre(self.dataset, self.config.eval_crop, image)
        return images.random_shift(rng, framed) if self.config.train_augment == "shift" else framed


@dataclasses.dataclass(frozen=True)
class _EvalChunks:
    """Chunk i of one process's part of the evaluation, filled up to ``length`` images."""

    dataset: Dataset
    crop: float
    length: int
    chunk: int
    index: int
    count: int

    def __len__(self) -> int:
        return self.length // self.chunk

    def __getitem__(self, place: int) -> Chunk:
        source: Source = self.dataset.evaluation
        batch = _empty(self.dataset, self.chunk)
        batch["mask"] = np.zeros(self.chunk, np.float32)
        for slot in range(self.chunk):
            number = (place * self.chunk + slot) * self.count + self.index
            if number >= len(source):
                continue
            try:
                element = source[number]
                batch["image"][slot] = _centre(self.dataset, self.crop, element["image"])
            except CorruptImage:
                batch["corrupt"][slot] = number
                continue
            batch["label"][slot], batch["mask"][slot] = element["label"], 1.0
        return batch


def _empty(dataset: Dataset, length: int) -> Chunk:
    side = dataset.resolution_px
    return {
        "image": np.zeros((length, side, side, dataset.channels), np.uint8),
        "label": np.zeros(length, np.int32),
        "corrupt": np.full(length, NOT_CORRUPT, np.int64),
    }


def _centre(dataset: Dataset, share: float, image: bytes | np.ndarray) -> np.ndarray:
    """The central square, resized; images that have the network's size already are not cut."""
    if not dataset.framed:
        whole = decode(image, dataset.channels) if isinstance(image, bytes) else image
        height, width = whole.shape[:2]
        box = images.centre_box(width, height, share)
        return images.cut(whole, box, dataset.resolution_px)
    return np.asarray(image)


class Draws:
    """Random numbers for each place in the stream, a function of (seed, place) alone.

    One counter-based generator that is given another key for each image: making a generator anew
    would take eight times as long.
    """

    def __init__(self, seed: int):
        bits = np.random.Philox(key=np.array([seed, 0], np.uint64))
        self._fresh, self._generator = bits.state, np.random.Generator(bits)

    def at(self, place: int) -> np.random.Generator:
        """The generator of a place; the one handed out before must not be used any more."""
        self._fresh["state"]["key"][1] = place
        self._generator.bit_generator.state = self._fresh
        return self._generator


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # Philox by name: what `default_rng` stands for may change, and with it every run's order.
    return np.random.Generator(np.random.Philox((seed, epoch))).permutation(size)
