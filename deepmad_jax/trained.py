"""A network with its weights, from the folder of a run or from a file of weights."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Architecture, reference
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.interop import (
    classes_of,
    embedded_architecture,
    from_network,
    load_into,
    read_weights,
)
from deepmad_jax.nets import Network
from deepmad_jax.train import Checkpoints


def is_file_of_weights(path: Path) -> bool:
    """Whether a path says by its ending that it holds weights."""
    return path.name.lower().endswith(reference.WEIGHTS) and not path.is_dir()


def from_weights(
    path: Path, arch: Architecture | None, dtype: Any, key: str | None, any_classes: bool = False
) -> Network:
    """The network whose weights a file holds.

    Args:
        path: see `interop.files`.
        arch: of the weights; None is the one inside a ``.safetensors`` file, else the
            ``architecture.json`` beside the file.
        dtype: of the network's computation.
        key: of a PyTorch file, see `interop.read_weights`.
        any_classes: whether the file may hold another number of classes than ``arch``, and the
            network then has it.
    Raises:
        UserError: nothing is there, it does not fit, or nothing says the architecture.
    """
    weights = read_weights(path, key)
    beside = path.with_name("architecture.json")
    if arch is None and path.suffix.lower() == ".safetensors":
        arch = embedded_architecture(path)
    if arch is None:
        if not beside.exists():
            raise MissingData(
                f"{path} holds weights, but of which architecture? Give architecture=..., or put "
                f"its architecture.json beside it, at {beside}."
            )
        arch = Architecture.load(beside)
    if any_classes:
        arch = dataclasses.replace(arch, classes=classes_of(arch, weights))
    net = _abstract(arch, dtype)
    load_into(net, weights)
    return net


def from_workdir(
    path: Path, arch: Architecture | None, dtype: Any, checkpoint: str
) -> Network | None:
    """The network of a run's checkpoint, the averages where kept; None where it has none yet.

    Args:
        path: the run's folder.
        arch: of the run; None is its ``architecture.json``.
        dtype: of the network's computation.
        checkpoint: ``newest`` or ``best``.
    Raises:
        UserError: it is no run's folder, or of another architecture.
    """
    arch = arch or architecture_of_run(path)
    checkpoints = path / "checkpoints"
    # Looked for before it is opened: opening makes the directory.
    if not (checkpoints.is_dir() and any(checkpoints.iterdir())):
        return None
    # A run may be writing there.
    with Checkpoints(checkpoints, read_only=True) as found:
        chosen = found.chosen_step(checkpoint)
        # The newest gives way to the one before where it is broken.
        variables = found.restore_variables(chosen if checkpoint == "best" else None)
    return filled(arch, variables, checkpoints, dtype)


def filled(
    arch: Architecture,
    variables: dict[tuple[str, ...], Any],
    where: Path,
    dtype: Any = jnp.float32,
) -> Network:
    """The network with a checkpoint's variables; see `fill`."""
    net = _abstract(arch, dtype)
    fill(net, arch.name, variables, where)
    return net


def at_size(net: Network, arch: Architecture) -> Network:
    """The network for images as large as ``arch`` has them; tables of positions are resized."""
    if net.arch.size_px == arch.size_px:
        return net
    size = {"resolution": arch.resolution, "resolution_w": arch.resolution_w}
    resized = _abstract(dataclasses.replace(net.arch, **size), net.dtype)
    load_into(resized, from_network(net))
    return resized


def architecture_of_run(path: Path) -> Architecture:
    """What a run's folder says it is of; raises `MissingData` where it says nothing."""
    file = path / "architecture.json"
    if not file.exists():
        raise MissingData(f"The folder {path} is no run's: it holds no architecture.json.")
    return Architecture.load(file)


def _abstract(arch: Architecture, dtype: Any) -> Network:
    """A network whose arrays are still to be put in."""
    return nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0), dtype=dtype))


def fill(net: Any, name: str, variables: dict[tuple[str, ...], Any], where: Path) -> None:
    """Puts a checkpoint's variables into a network.

    Args:
        net: any module.
        name: of its architecture, for the message.
        variables: of `Checkpoints.restore_variables`.
        where: of the checkpoint, for the message.
    Raises:
        UserError: they are of another network.
    """
    arrays = dict(nnx.to_flat_state(nnx.state(net)))
    shapes = {tuple(map(str, path)): leaf.shape for path, leaf in arrays.items()}
    if shapes != {path: array.shape for path, array in variables.items()}:
        raise UserError(
            f"The checkpoint in {where} is of another architecture than {name!r}, or of "
            "another task or head: give the folder with the architecture.json and the config that "
            "it was trained with."
        )
    loaded = {path: leaf.replace(variables[tuple(map(str, path))]) for path, leaf in arrays.items()}
    nnx.update(net, nnx.from_flat_state(loaded))
