"""Batches of any kind of sample: order, shares of processes, corrupt images, chunks, exact place.

Training is one endless stream: every epoch is a new permutation of all images, and batches run
across the end of an epoch, so none is dropped. Process p of k takes every k-th image of that one
stream, so step t has the same images whatever k is. Everything drawn for an image comes from a
generator seeded by (seed, place in the stream). So batch t is a function of (seed, t) alone: the
number of worker processes changes nothing, and the iterator's state is t.

Evaluation sees every image once, in order; the last batch is filled up with images of mask 0.

What a sample is, a `Samples` says (`labelled` for classification); here nothing knows of labels.

Grain moves the data: workers make chunks of a batch, not single images, because its cost an element
(about 110 us) is a tenth of decoding one; the main process only joins chunks.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import grain
import jax
import numpy as np
from absl import flags

from deepmad_jax.data.corrupt import NOT_CORRUPT, CorruptData, Tally
from deepmad_jax.data.dataset import Source
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.data.iterator import Batches
from deepmad_jax.errors import InvalidConfig

READ_THREADS = 4
"""Chunks made ahead without workers, and as many of them at the same time as there are cores.
Decoding leaves the GIL."""

MOST_IN_CHUNK = 64
"""Images that one worker makes at a time: enough that Grain's cost is spread, few enough that all
workers share in the first batch."""

MOST_ATTEMPTS = 100
"""Corrupt images in a row after which the data set is taken for broken."""

Chunk = dict[str, np.ndarray]
"""Arrays by name, whose first axis runs over the samples."""


class Samples(Protocol):
    """What a batch holds. Worker processes get a copy, so it can be pickled."""

    def empty(self, length: int) -> Chunk:
        """Room for so many samples, zeros."""
        ...

    def maker(self) -> "Maker":
        """What makes the samples of one chunk; it may keep memory for them."""
        ...


class Maker(Protocol):
    """Makes one sample of ``element`` in place, at ``slot`` of ``chunk``.

    With a generator for training, with None for the evaluation. Raises `CorruptImage` where the
    element cannot be read.
    """

    def __call__(
        self, chunk: Chunk, slot: int, element: Any, rng: np.random.Generator | None
    ) -> None: ...


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a stream is read.

    Attributes:
        name: of the data set, for messages.
        corrupt_share: of the images that may be unreadable.
        workers: processes; 0 reads in this one.
        process_index, process_count: this process among those that share the data; None asks JAX.
    """

    name: str
    corrupt_share: float
    workers: int = 0
    process_index: int | None = None
    process_count: int | None = None

    def place(self) -> tuple[int, int]:
        """This process's index, and how many there are."""
        if self.process_index is None or self.process_count is None:
            return jax.process_index(), jax.process_count()
        return self.process_index, self.process_count


def endless(
    source: Source, samples: Samples, reading: Reading, *, batch_size: int, seed: int
) -> Batches:
    """Endless shuffled batches of this process, for training.

    Besides what ``samples`` make, each has ``key``, uint32 (b, 2): random bits for what is drawn on
    the device. The iterator's ``get_state`` and ``set_state`` say and set the place in the stream.

    Args:
        source, samples, reading: what is read, what is made of it, and how.
        batch_size: over all processes; b is this process's share.
        seed: of order and augmentation.
    Raises:
        InvalidConfig: the processes cannot share a batch evenly.
    """
    index, count = reading.place()
    share = _share(batch_size, count)
    chunks = _TrainChunks(
        source, samples, reading.name, seed % 2**32, _chunk_size(share), index=index, count=count
    )
    tally = Tally(reading.name, source, reading.corrupt_share)
    return Batches(functools.partial(_read, chunks, share, reading.workers), tally)


def once(source: Source, samples: Samples, reading: Reading, *, batch_size: int) -> Batches:
    """Batches that hold every sample with ``mask``, float32 (b,), of 1 exactly once.

    All have the same shape, and every process gets the same number of them. An image that cannot be
    read has mask 0.

    Args:
        source, samples, reading: as in `endless`.
        batch_size: over all processes.
    Raises:
        InvalidConfig: the processes cannot share a batch evenly.
    """
    index, count = reading.place()
    share = _share(batch_size, count)
    num_batches = -(-len(source) // batch_size)
    chunks = _EvalChunks(source, samples, num_batches * share, _chunk_size(share), index, count)
    tally = Tally(reading.name, source, reading.corrupt_share)
    return Batches(functools.partial(_read, chunks, share, reading.workers), tally)


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
    # A chunk of a worker lies in shared memory until it is copied; who keeps a batch would keep it.
    if in_batch > 1 or workers:
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

    source: Source
    samples: Samples
    name: str
    seed: int
    chunk: int
    index: int
    count: int

    def __len__(self) -> int:
        return sys.maxsize  # endless, as Grain writes it

    def __getitem__(self, place: int) -> Chunk:
        source, size = self.source, len(self.source)
        batch = _empty(self.samples, self.chunk)
        keys = np.zeros(self.chunk, np.uint64)
        draws, make = Draws(self.seed), self.samples.maker()
        for slot in range(self.chunk):
            in_stream = (place * self.chunk + slot) * self.count + self.index
            epoch, in_epoch = divmod(in_stream, size)
            number = int(_permutation(self.seed, epoch, size)[in_epoch])
            rng = draws.at(in_stream)
            keys[slot] = rng.bit_generator.random_raw()
            # The next image takes the place of a corrupt one.
            for attempt in range(MOST_ATTEMPTS + 1):
                if attempt == MOST_ATTEMPTS:
                    raise CorruptData(
                        f"{attempt} images in a row of {self.name} cannot be read, from "
                        f"{source.name_of(number)} on: prepare the data again."
                    )
                try:
                    make(batch, slot, source[(number + attempt) % size], rng)
                except CorruptImage:
                    if batch["corrupt"][slot] == NOT_CORRUPT:
                        batch["corrupt"][slot] = number
                    continue
                break
        return batch | {"key": keys.view(np.uint32).reshape(-1, 2)}


@dataclasses.dataclass(frozen=True)
class _EvalChunks:
    """Chunk i of one process's part of the evaluation, filled up to ``length`` images."""

    source: Source
    samples: Samples
    length: int
    chunk: int
    index: int
    count: int

    def __len__(self) -> int:
        return self.length // self.chunk

    def __getitem__(self, place: int) -> Chunk:
        batch = _empty(self.samples, self.chunk)
        batch["mask"] = np.zeros(self.chunk, np.float32)
        make = self.samples.maker()
        for slot in range(self.chunk):
            number = (place * self.chunk + slot) * self.count + self.index
            if number >= len(self.source):
                continue
            try:
                make(batch, slot, self.source[number], None)
            except CorruptImage:
                batch["corrupt"][slot] = number
                continue
            batch["mask"][slot] = 1.0
        return batch


def _empty(samples: Samples, length: int) -> Chunk:
    return samples.empty(length) | {"corrupt": np.full(length, NOT_CORRUPT, np.int64)}


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
