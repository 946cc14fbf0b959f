"""What processes that have joined do together, and what becomes of them when one is lost."""

import os
import sys
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from deepmad_jax.errors import UserError

LOST = 75
"""Exit status where another process was lost: to be tried again, by sysexits' custom."""


def by_the_first(action: Callable[[], object]) -> None:
    """Runs ``action`` in the first process; the others wait, and fail where it failed."""
    if jax.process_count() == 1:
        action()
        return
    error: Exception | None = None
    if jax.process_index() == 0:
        try:
            action()
        except Exception as caught:
            error = caught
    failed = multihost_utils.broadcast_one_to_all(np.array(error is not None))
    if error is not None:
        raise error
    if failed:
        raise UserError(f"Process {jax.process_index()} stops, because the first one failed.")


def leave_if_one_is_lost(error: Exception) -> None:
    """Ends this process, with a message, where ``error`` comes of another process's end.

    At once: the usual way out would wait for the process that is gone.
    """
    if not isinstance(error, jax.errors.JaxRuntimeError | OSError | ValueError):
        return
    if not jax.distributed.is_initialized() or isinstance(error, UserError):
        return
    text = str(error)
    if not any(word in text for word in _SIGNS):
        return
    print(
        f"\nerror: Process {jax.process_index()} of {jax.process_count()} lost its connection to "
        f"another one, which was probably killed ({text.splitlines()[0][:200]}). Start all of "
        "them again with the same command: they go on from the last checkpoint.",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    os._exit(LOST)


_SIGNS = (
    "Gloo",
    "NCCL",
    "coordination",
    "Connection reset by peer",
    "Connection closed by peer",
    "Socket closed",
    "DEADLINE_EXCEEDED",
    "UNAVAILABLE",
    "Barrier",
    "heartbeat",
)
"""What errors of collectives and barriers say when a process is gone."""
