"""What the C library does with memory that is freed.

XLA's CPU client takes the intermediate arrays of a program from the C library at every run and
gives them back after it. By glibc's defaults hundreds of megabytes go back to the system each time,
and their pages are cleared when they are touched again: 100,000 of them in a train step of
DeepMAD-R50 with eight images of 96 pixels, a fifth of the step's time (0.2 of 0.95 s; one core of a
busy Intel Xeon, jax 0.10.2, 2026-11-30). Kept, they are none.
"""

import ctypes
import os

_ARENA_MAX = -8
_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
_MOST = 2**31 - 1
_FRAGMENT = 2**14
"""Bytes of the smallest fragment put aside: smaller ones are found at once, and many."""

_kept = False
_aside: list[int] = []
"""Addresses of what was put aside."""


def keep_freed_memory() -> None:
    """From here on what is freed stays with the process, for what it asks for next.

    For a process of our own, before it starts threads: all of them share one arena then, as those
    beside the first never hold more than 64 MB. Does nothing where the C library is not glibc, or
    where the user set its ``MALLOC_ARENA_MAX``, ``MALLOC_TRIM_THRESHOLD_`` and such.
    """
    global _kept
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; no shared one; Windows
        return
    for option, value in (
        (_ARENA_MAX, 1),
        (_MMAP_THRESHOLD, _MOST),
        (_TRIM_THRESHOLD, _MOST),
    ):
        mallopt(option, value)
    _kept = True


def give_freed_memory_back() -> None:
    """What is free goes to the system: after a compilation, whose gigabytes nothing needs.

    DeepMAD-29M's train step, eight images of 96 pixels, then takes 4.1 in place of 5.6 GB. Does
    nothing where `keep_freed_memory` did nothing.
    """
    if not _kept:
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    # Those of before first: a process that trains many networks keeps no more than one's.
    while _aside:
        libc.free(_aside.pop())
    libc.malloc_trim(0)
    _put_fragments_aside(libc)


def _put_fragments_aside(libc: ctypes.CDLL) -> None:
    """Takes what is free between other memory from the C library's lists.

    A compilation leaves thousands of such fragments, and whatever XLA asks for after it is sought
    among them: for 5 microseconds in place of 0.5, by each of 5,000 ops. A train step of
    DeepMAD-R50 takes 0.47 s in place of 0.56 without them (one core of an Intel Xeon, jax 0.10.2,
    2026-12-01). Their pages have gone to the system; only their addresses are lost, and a page for
    the entry of each: 50 MB there.
    """
    size = 2**30
    end = libc.malloc(size)  # larger than what is free anywhere but at the heap's end
    libc.free(end)
    if not end or end > libc.sbrk(0):
        return  # the heap has no room to grow
    while size >= _FRAGMENT:
        while (found := libc.malloc(size)) and found < end:
            _aside.append(found)
        libc.free(found)
        size = size * 15 // 16
