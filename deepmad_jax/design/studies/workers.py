"""Worker processes for jobs that each suit one core: a pool in which every worker stays on its own.

More threads than one would only wait for each other there: JAX's, and those of NumPy's linear
algebra, which made a sweep five times slower.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from deepmad_jax.cores import available_cores

_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def one_core_each(
    workers: int, prepare: Callable[..., None] | None = None, *args: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of ``workers`` processes; on leaving it, what has not begun is dropped.

    Args:
        workers: processes; more than there are cores share them.
        prepare, args: called in each worker before its first job.
    """
    # Forking a process that has started JAX's threads may hang: spawn.
    context = multiprocessing.get_context("spawn")
    cores = context.SimpleQueue()
    for core in itertools.islice(itertools.cycle(available_cores()), workers):
        cores.put(core)
    # Workers read it when they load NumPy, and start when the first jobs come.
    before = {name: os.environ.get(name) for name in _BLAS_THREADS}
    os.environ |= dict.fromkeys(_BLAS_THREADS, "1")
    pool = ProcessPoolExecutor(workers, context, _start, (cores, prepare, args))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(cores: Any, prepare: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    """Before JAX starts, which then makes one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for them
    core = cores.get()
    if core >= 0:
        os.sched_setaffinity(0, {core})
    if prepare is not None:
        prepare(*args)
