"""Parts of batches, made where they are asked for: by place in the stream, in any process.

Chunk i is a function of i alone, whoever makes it. What a sample is, a `Samples` says; the order,
the draws and what happens to samples left out (`corrupt`) are said here.
"""

import dataclasses
import functools
import sys
from typing import Any, Protocol

import jax
import numpy as np

from deepmad_jax.data.corrupt import CORRUPT, NONE, UNLABELLED, CorruptData, Unlabelled
from deepmad_jax.data.dataset import Source
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.errors import UserError

MOST_ATTEMPTS = 100
"""Corrupt images for one place in the stream after which the data set is taken for broken."""

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
    element cannot be read, and `Unlabelled` where its label is none of the classes.
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
        unlabelled: ``refuse`` or ``drop`` those whose label is none of the classes.
        workers: processes; 0 reads in this one.
        process_index, process_count: this process among those that share the data; None asks JAX.
        samples: what they are called, for messages.
    """

    name: str
    corrupt_share: float
    unlabelled: str = "refuse"
    workers: int = 0
    process_index: int | None = None
    process_count: int | None = None
    samples: str = "images"

    def place(self) -> tuple[int, int]:
        """This process's index, and how many there are."""
        if self.process_index is None or self.process_count is None:
            return jax.process_index(), jax.process_count()
        return self.process_index, self.process_count


@dataclasses.dataclass(frozen=True)
class TrainChunks:
    """Chunk i of one process's part of the stream: images i * chunk to (i + 1) * chunk - 1."""

    source: Source
    samples: Samples
    reading: Reading
    seed: int
    chunk: int
    index: int
    count: int
    repeats: int = 1

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
            order = _permutation(self.seed, epoch, size)
            rng = draws.at(in_stream)
            keys[slot] = rng.bit_generator.random_raw()
            # The next image of the epoch takes the place of one left out. In the order of the
            # source it would be the next of the same damaged file.
            unreadable = 0
            for attempt in range(size):
                number = int(order[(in_epoch // self.repeats + attempt) % size])
                try:
                    make(batch, slot, source[number], rng)
                    break
                except CorruptImage as error:
                    _mark(batch[CORRUPT], slot, number)
                    unreadable += 1
                    if unreadable == MOST_ATTEMPTS or attempt == size - 1:
                        self._give_up(attempt + 1, number, error)
                except Unlabelled as error:
                    _mark_unlabelled(batch, slot, number, error, source, self.reading)
                    if attempt == size - 1:
                        self._give_up(size, number, error)
        return batch | {"key": keys.view(np.uint32).reshape(-1, 2)}

    def _give_up(self, attempts: int, number: int, error: Exception) -> None:
        raise CorruptData(
            f"{attempts} {self.reading.samples} in a row of {self.reading.name} cannot be used. "
            f"One of them: {self.source.name_of(number)}: {error}. Choose other data, or prepare "
            "it again."
        )


@dataclasses.dataclass(frozen=True)
class EvalChunks:
    """Chunk i of one process's part of the evaluation, filled up to ``length`` images."""

    source: Source
    samples: Samples
    reading: Reading
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
                _mark(batch[CORRUPT], slot, number)
            except Unlabelled as error:
                _mark_unlabelled(batch, slot, number, error, self.source, self.reading)
            else:
                batch["mask"][slot] = 1.0
        return batch


def _mark(marks: np.ndarray, slot: int, number: int) -> None:
    if marks[slot] == NONE:  # others that fail for this slot are marked in their own
        marks[slot] = number


def _mark_unlabelled(
    batch: Chunk, slot: int, number: int, error: Unlabelled, source: Source, reading: Reading
) -> None:
    if reading.unlabelled == "refuse":
        raise UserError(
            f"{source.name_of(number)} of {reading.name} has no usable label: {error}. Splits that "
            "TFDS keeps without labels have -1: choose another one (--config.data.train_split, "
            "--config.data.eval_split), mend the data, or leave such images out with "
            "--config.data.unlabelled=drop."
        )
    _mark(batch[UNLABELLED], slot, number)


def _empty(samples: Samples, length: int) -> Chunk:
    marks = {name: np.full(length, NONE, np.int64) for name in (CORRUPT, UNLABELLED)}
    return samples.empty(length) | marks


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
