"""Batches of any kind of sample: order, shares of processes, corrupt images, chunks, exact place.

Training is one endless stream: every epoch is a new permutation of all images, and batches run
across the end of an epoch, so none is dropped. Process p of k takes every k-th image of that one
stream, so step t has the same images whatever k is. Everything drawn for an image comes from a
generator seeded by (seed, place in the stream). So batch t is a function of (seed, t) alone: the
number of worker processes changes nothing, and the iterator's state is t.

Evaluation sees every image once, in order; the last batch is filled up with images of mask 0.
What happens to images that cannot be used, `corrupt` says.

What a sample is, a `Samples` says (`labelled` for classification); `chunks` makes them.

Grain moves the data: workers make chunks of a batch, not single images, because its cost an element
(about 110 us) is a tenth of decoding one; the main process only joins chunks.
"""

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from deepmad_jax.cores import available_cores
from deepmad_jax.data.chunks import Chunk, EvalChunks, Reading, Samples, TrainChunks
from deepmad_jax.data.corrupt import Tally, Unlabelled
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


def endless(
    source: Source,
    samples: Samples,
    reading: Reading,
    *,
    batch_size: int,
    seed: int,
    repeats: int = 1,
) -> Batches:
    """Endless shuffled batches of this process, for training.

    Besides what ``samples`` make, each has ``key``, uint32 (b, 2): random bits for what is drawn on
    the device. The iterator's ``get_state`` and ``set_state`` say and set the place in the stream.

    Args:
        source, samples, reading: what is read, what is made of it, and how.
        batch_size: over all processes; b is this process's share.
        seed: of order and augmentation.
        repeats: times that an image stands in the stream, one after the other, each time drawn anew
            (Hoffer et al. 2020, arXiv 1901.09335). An epoch is as long as without, so it has as
            many fewer images. Processes take turns, so that they share the repeats of an image.
    Raises:
        InvalidConfig: the processes cannot share a batch evenly.
    """
    index, count = reading.place()
    share = _share(batch_size, count)
    chunks = TrainChunks(
        source, samples, reading, seed % 2**32, _chunk_size(share), index, count, repeats
    )
    tally = _tally(source, samples, reading)
    start = functools.partial(_read, chunks, share, reading.workers)
    return Batches(start, tally, reading.workers)


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
    chunks = EvalChunks(
        source, samples, reading, num_batches * share, _chunk_size(share), index, count
    )
    tally = _tally(source, samples, reading)
    start = functools.partial(_read, chunks, share, reading.workers)
    return Batches(start, tally, reading.workers)


def _tally(source: Source, samples: Samples, reading: Reading) -> Tally:
    def why(number: int) -> str:
        # By trying it once more: a reason in each batch would be memory for text that is rare.
        try:
            samples.maker()(samples.empty(1), 0, source[number], None)
        except (CorruptImage, Unlabelled) as error:
            return str(error)
        return "the next try could read it"

    return Tally(reading.name, source, reading.corrupt_share, why, reading.samples)


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
        moving = stream.to_iter_dataset(grain.ReadOptions(1, 1)).mp_prefetch(
            options, worker_init_fn=_live_and_die_with_the_main_process
        )
    else:
        # Threads that share one core cost a twentieth of it.
        threads = min(READ_THREADS, len(available_cores()))
        moving = stream.to_iter_dataset(grain.ReadOptions(threads, READ_THREADS))
    # A chunk of a worker lies in shared memory until it is copied; who keeps a batch would keep it.
    if in_batch > 1 or workers:
        moving = moving.batch(in_batch, batch_fn=_join)
        # In a thread: joining a batch of 2048 images at 224 pixels takes tens of milliseconds.
        moving = grain.experimental.ThreadPrefetchIterDataset(moving, prefetch_buffer_size=1)
    return iter(moving)


def _live_and_die_with_the_main_process(worker: int, workers: int) -> None:
    # Ctrl-C reaches them all; workers that die of it leave tracebacks and their shared memory.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where the main process is killed, nobody else would end them: they would wait for ever, and
    # keep a core busy with it.
    threading.Thread(target=_end_with_the_main_process, daemon=True).start()


def _end_with_the_main_process() -> None:
    main = multiprocessing.parent_process()
    if main is not None:
        main.join()
        os._exit(1)


def _join(chunks: Sequence[Chunk]) -> Chunk:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
