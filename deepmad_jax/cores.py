"""The processor cores of this machine that are ours to use."""

import os


def available_cores() -> list[int]:
    """The cores this process may run on, fewer than the machine's where it is pinned.

    Each is -1 where the system does not say which they are.
    """
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [-1] * (os.cpu_count() or 1)
