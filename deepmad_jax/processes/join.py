"""The one way into a run of several processes, whatever started them."""

import os
import re

import jax
from jax.experimental import multihost_utils

from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.processes.detect import detect
from deepmad_jax.processes.meet import Place, meet

JOIN_SECONDS = 50
"""How long a process waits for the others, unless ``DEEPMAD_JOIN_SECONDS`` says otherwise."""

HEARTBEAT_SECONDS = 30
"""Silence after which a process counts as dead. A closed connection is noticed at once."""

SHUTDOWN_SECONDS = 30
"""How long a process that is done waits for the others."""


def join(spec: str, seconds: float | None = None) -> None:
    """Connects this process with the others. To be called before JAX is used.

    Prints what it goes by before it waits, and its place and devices when all are there.

    Args:
        spec: ``HOST:PORT,COUNT,INDEX``, where process 0 listens, how many processes and which is
            this; or ``auto``: what SLURM, Kubernetes, Open MPI or a TPU pod says.
        seconds: how long to wait for the others; None is ``DEEPMAD_JOIN_SECONDS`` or 50.

    Raises:
        InvalidConfig: another spec.
        UserError: no cluster was found, or process 0 or another one is missing.
    """
    seconds = _patience() if seconds is None else seconds
    place = detect(seconds) if spec == "auto" else _read(spec)
    print(
        f"This is process {place.index} of {place.count}; they meet at {place.address}.", flush=True
    )
    meet(place, seconds)
    try:
        jax.distributed.initialize(
            place.address,
            place.count,
            place.index,
            place.devices,
            # `detect` has done it, and says which devices.
            cluster_detection_method="deactivate",
            initialization_timeout=max(int(seconds), 1),
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except Exception as error:  # XLA's, of several types
        raise UserError(
            f"All {place.count} processes met at {place.address}, but could not be connected: "
            f"{error}. Start all of them again; where process 0 cannot listen, with another port."
        ) from error
    # The first exchange between processes waits 30 s at most for all of them; later ones wait as
    # long as it takes. So it comes now, while nobody has anything else to do.
    multihost_utils.sync_global_devices("joined")
    print(
        f"process {jax.process_index()} of {jax.process_count()}: {jax.local_device_count()} local "
        f"and {jax.device_count()} global devices ({jax.default_backend()})",
        flush=True,
    )


def _read(spec: str) -> Place:
    found = re.fullmatch(r"(\S+):([0-9]+),([0-9]+),([0-9]+)", spec)
    if found is None:
        raise InvalidConfig(
            f"--distributed is {spec!r}, but must be auto, or HOST:PORT,COUNT,INDEX such as "
            "10.0.0.1:4321,2,0."
        )
    port, count, index = map(int, found.groups()[1:])
    if not 0 < port < 1 << 16:
        raise InvalidConfig(f"--distributed={spec}: the port {port} must be 1 to 65535.")
    if not index < count:
        raise InvalidConfig(f"--distributed={spec}: the index {index} must be below {count}.")
    return Place(f"{found[1]}:{port}", count, index)


def _patience() -> float:
    text = os.environ.get("DEEPMAD_JOIN_SECONDS", str(JOIN_SECONDS))
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or float(text) <= 0:
        raise InvalidConfig(
            f"The environment's DEEPMAD_JOIN_SECONDS is {text!r}, but must be a number of seconds "
            "above 0."
        )
    return float(text)
