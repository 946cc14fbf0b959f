"""Several processes that run one command together: joining, sharing out, and losing one.

Each is started with the same command and ``--distributed``; `launch/local_processes.py` does so on
one machine, ``docs/multi_host.md`` says how on several. Knows nothing of training.
"""

import os
import sys
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from deepmad_jax.errors import InvalidConfig, UserError

HEARTBEAT_SECONDS = 30
"""Silence after which a process counts as dead. A closed connection is noticed at once."""

SHUTDOWN_SECONDS = 30
"""How long a process that is done waits for the others."""

LOST = 75
"""Exit status where another process was lost: to be tried again, by sysexits' custom."""


def join(spec: str) -> None:
    """Connects this process with the others. To be called before JAX is used.

    Args:
        spec: ``auto`` (Slurm, Open MPI, Kubernetes, TPU pods: JAX finds the others itself) or
            ``HOST:PORT,COUNT,INDEX``: where process 0 listens, how many processes, which is this.

    Raises:
        InvalidConfig: another spec.
    """
    timeouts = {
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
        "shutdown_timeout_seconds": SHUTDOWN_SECONDS,
    }
    if spec == "auto":
        jax.distributed.initialize(**timeouts)
        _meet()
        return
    address, *numbers = spec.split(",")
    if ":" not in address or len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        raise InvalidConfig(
            f"--distributed is {spec!r}, but must be auto, or HOST:PORT,COUNT,INDEX such as "
            "10.0.0.1:4321,2,0."
        )
    count, index = map(int, numbers)
    if not 0 <= index < count:
        raise InvalidConfig(f"--distributed={spec}: the index {index} must be below {count}.")
    jax.distributed.initialize(address, count, index, **timeouts)
    _meet()


def _meet() -> None:
    # The first exchange between processes waits 30 s at most for all of them; later ones wait as
    # long as it takes. So it comes now, while nobody has anything else to do.
    multihost_utils.sync_global_devices("joined")


def by_the_first(action: Callable[[], None]) -> None:
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
