"""Devices as a mesh of two axes, "data" and "fsdp"; batches are split over both, by image.

With ``fsdp`` 1 (the default) the whole state is on every device. With more, each large array of it
is split over that axis along its longest divisible side, and the compiler gathers it where it is
used: memory for parameters, momentum and averages falls by that factor.

BatchNorm under `jax.jit` with a split batch takes its statistics over the whole batch, whatever the
number of devices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from deepmad_jax.errors import InvalidConfig

DATA_AXIS, FSDP_AXIS = "data", "fsdp"

MIN_SPLIT_SIZE = 1024
"""Numbers in an array below which splitting it saves less than gathering it costs."""


def make_mesh(devices: Sequence[jax.Device] | None = None, fsdp: int = 1) -> Mesh:
    """A mesh over all devices of all processes, or over those given.

    Args:
        devices: in order; neighbours share an "fsdp" group.
        fsdp: devices over which the state is split.

    Raises:
        InvalidConfig: ``fsdp`` does not divide the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise InvalidConfig(
            f"config.train.fsdp is {fsdp}, which does not divide {len(devices)} device(s): choose "
            "a divisor of that number."
        )
    # Auto: the compiler places what lies between. The default, Explicit, types every array.
    return jax.make_mesh(
        (len(devices) // fsdp, fsdp),
        (DATA_AXIS, FSDP_AXIS),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device in full."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_image(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The given axis split over all devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, (DATA_AXIS, FSDP_AXIS)))


def state_sharding(mesh: Mesh, tree: Any) -> Any:
    """Where each array of ``tree`` lies, in its structure: see the top of this file."""
    return jax.tree.map(lambda leaf: _sharding_of(mesh, leaf.shape), tree)


def _sharding_of(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    parts = mesh.shape[FSDP_AXIS]
    divisible = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or not divisible or np.prod(shape) < MIN_SPLIT_SIZE:
        return replicated(mesh)
    # The last of the longest: output channels, so that a stack of blocks is cut last.
    chosen = max(divisible, key=lambda axis: (shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*[None] * chosen, FSDP_AXIS))


def place(mesh: Mesh, tree: Any) -> Any:
    """The arrays of ``tree``, equal in every process, placed as `state_sharding` says."""
    # Through NumPy: putting a jax.Array of one process onto several gave a broken array.
    return jax.device_put(jax.device_get(tree), state_sharding(mesh, tree))


def to_device(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """The global batch of which each process holds an equal part, split over the devices."""
    sharding = split_by_image(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def check_batch_size(mesh: Mesh, batch_size: int, accumulate: int = 1) -> None:
    """Raises `InvalidConfig` for a training batch that the devices cannot share evenly.

    Args:
        mesh: of the devices.
        batch_size: over all of them.
        accumulate: pieces of the batch that they work on one after the other.
    """
    unit = mesh.size * accumulate
    if batch_size < 1 or batch_size % unit:
        pieces = "" if accumulate == 1 else f" in {accumulate} pieces (accumulate_steps)"
        raise InvalidConfig(
            f"config.train.batch_size is {batch_size}, which {mesh.size} device(s) cannot share "
            f"evenly{pieces}: choose a multiple of {unit}, such as "
            f"{-(-max(batch_size, 1) // unit) * unit}."
        )


def padded_batch_size(mesh: Mesh, batch_size: int) -> int:
    """The least multiple of the number of devices that is at least ``batch_size``.

    For evaluation, where filling up changes no result.
    """
    return -(-batch_size // mesh.size) * mesh.size
