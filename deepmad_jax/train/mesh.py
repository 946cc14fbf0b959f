"""Devices as a mesh with one axis, "data": batches are split over it, the state is on every one.

BatchNorm under `jax.jit` with a split batch takes its statistics over the whole batch, whatever the
number of devices. A second axis (fully sharded parameters) would be added here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from deepmad_jax.errors import InvalidConfig

DATA_AXIS = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices of all processes, or over those given."""
    devices = jax.devices() if devices is None else devices
    # Auto: the compiler places what lies between. The default, Explicit, types every array.
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device in full."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_image(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """The arrays of ``tree``, equal in every process, on every device."""
    # Through NumPy: putting a jax.Array of one process onto several gave a broken array.
    return jax.device_put(jax.device_get(tree), replicated(mesh))


def to_device(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """The global batch of which each process holds an equal part, split over the devices."""
    sharding = split_by_image(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, values)
        for name, values in batch.items()
    }


def check_batch_size(mesh: Mesh, batch_size: int) -> None:
    """Raises `InvalidConfig` for a training batch that the devices cannot share evenly."""
    if batch_size < 1 or batch_size % mesh.size:
        raise InvalidConfig(
            f"config.train.batch_size is {batch_size}, which {mesh.size} device(s) cannot share "
            f"evenly: choose a multiple of {mesh.size}, such as "
            f"{padded_batch_size(mesh, max(batch_size, 1))}."
        )


def padded_batch_size(mesh: Mesh, batch_size: int) -> int:
    """The least multiple of the number of devices that is at least ``batch_size``.

    For evaluation, where filling up changes no result.
    """
    return -(-batch_size // mesh.size) * mesh.size
