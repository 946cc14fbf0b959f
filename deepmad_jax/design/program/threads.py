"""Linear algebra on one thread while a design is sought.

The search's matrices are small, a few dozen rows: a second thread of the library behind NumPy only
waits for the first, on a processor that others could use, and where others do use it the first
waits too.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_limiting = threading.Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """NumPy's linear algebra has one thread inside, and as many as before afterwards.

    The setting is the whole process's. So where several Python threads are inside at once, the
    first one sets it and restores it when it leaves: the others would take the one thread for what
    was before.
    """
    if not _limiting.acquire(blocking=False):
        yield
        return
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        _limiting.release()
