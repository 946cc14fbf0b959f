"""PyTorch weights of the authors' released code (TinyNAS) into a `Network`, and back.

Weights are NumPy arrays by PyTorch key, as ``dict`` or as an opened ``.npz``; PyTorch itself is not
needed. The keys, for entry i of the structure (the stem is 0) and block j of a stage:

    block_list.0.{conv1,bn1}.*                             stem; the final conv likewise, last
    block_list.i.block_list.j.convN.{conv1,bn1}.*          main path, N from 1
    block_list.i.block_list.j.se2.convN.{conv1,bn1}.*      squeeze
    block_list.i.block_list.j.residual_proj.{conv1,bn1}.*  projected shortcut
    fc_linear.{weight,bias}                                classifier

What that code does not have, and other networks do, is named in the same way by us:

    ....conv1.bias                     of a conv with bias
    ....ln1.{weight,bias}              LayerNorm, in place of bn1; one before every conv is in conv0
    ....ls1.gamma                      layer scale, beside the conv it follows
    block_list.0.position              learned positions of the stem
    fc_norm.{weight,bias}              LayerNorm before the classifier

The networks that the paper compares with have their authors' keys: see `authors_keys.py`.

``num_batches_tracked`` counts steps, which a network does not keep: it is neither read nor written.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.arch import Architecture, Layer, layer_table
from deepmad_jax.arch.cost import is_linear
from deepmad_jax.errors import UserError
from deepmad_jax.interop import authors_keys
from deepmad_jax.interop.resize import resize_table
from deepmad_jax.nets import Network
from deepmad_jax.nets.block import layer_names

LEAVES = {
    "conv": {"kernel": "weight", "bias": "bias"},
    "norm": {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"},
    "layer_norm": {"scale": "weight", "bias": "bias"},
    "layer_scale": {"scale": "gamma"},
    "dense": {"kernel": "weight", "bias": "bias"},
    "window_attention": {"table": "relative_position_bias_table"},
    "performer": {"directions": "w"},
    # These two stand for whole keys.
    "position": {"table": "", "token": "cls_token"},
}
"""Layer kind -> our name of an array -> PyTorch's. Not every ``conv`` has a bias, nor every
``position`` a class token."""


def pytorch_axes(layer: Layer, axes: int) -> tuple[int, ...]:
    """Axes that bring our kernels (HWIO; in, out) to PyTorch's order (OIHW; out, in).

    Args:
        layer: a conv or a dense layer.
        axes: of the network's maps, 3 where they have frames.
    """
    return (1, 0) if layer.kind == "dense" else (axes + 1, axes, *range(axes))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of a `Network`'s state and where PyTorch keeps it.

    Attributes:
        path: in the state.
        keys: PyTorch's, one for each repeated block, or the only one.
        stacked: whether the array has a leading axis over ``keys``.
        axes: that bring one array to PyTorch's order; None where it has it already.
        resized: how a table of another size is brought to this one's, None where it is not.
        linear: whether PyTorch has the 1x1 conv as a linear layer, so without the last two axes.
    """

    path: tuple[str | int, ...]
    keys: tuple[str, ...]
    stacked: bool
    axes: tuple[int, ...] | None
    linear: bool = False
    resized: str | None = None


def load_into(net: Network, weights: Mapping[str, np.ndarray]) -> None:
    """Replaces every parameter and running statistic of the network, in place.

    Tables of positions and relative positions are resized where they are of another resolution or
    window (`resize.py`); all else is taken as it is.

    The network may be an abstract one, of `nnx.eval_shape`: then nothing is initialised in vain.

    Raises:
        UserError: any key missing, unknown or of another shape; all are listed, and the network is
            left as it was.
    """
    arrays = dict(nnx.to_flat_state(nnx.state(net)))
    table = list(entries(net.arch))
    expected = {
        key: _pytorch_shape(entry, arrays[entry.path].shape)
        for entry in table
        for key in entry.keys
    }
    given = {
        key: value
        for key, value in authors_keys.from_timm(net.arch, weights).items()
        if key.rpartition(".")[2] not in authors_keys.BUFFERS
    }
    for entry in table:
        if entry.resized is not None:
            given |= _resized(entry, given, expected)
    _check(net.arch.name, given, expected)
    loaded = {}
    for entry in table:
        parts = [np.asarray(given[key], np.float32) for key in entry.keys]
        if entry.linear:
            parts = [part[:, :, None, None] for part in parts]
        if entry.axes is not None:
            parts = [part.transpose(np.argsort(entry.axes)) for part in parts]
        array = jnp.asarray(np.stack(parts) if entry.stacked else parts[0])
        loaded[entry.path] = arrays[entry.path].replace(array)
    nnx.update(net, nnx.from_flat_state(loaded))


def classes_of(arch: Architecture, weights: Mapping[str, np.ndarray]) -> int:
    """Outputs of the classifier in the weights; the architecture's where they have none."""
    given = authors_keys.from_timm(arch, weights)
    for entry in entries(arch):
        *_, layer, leaf = entry.path
        if leaf == "bias" and str(layer).endswith("dense") and entry.keys[0] in given:
            return len(given[entry.keys[0]])
    return arch.classes


def from_network(net: Network) -> dict[str, np.ndarray]:
    """The inverse of `load_into`: the network's state as float32 arrays by PyTorch key.

    Raises:
        UserError: the network has lost its classifier, or its BatchNorm by folding.
    """
    arrays = dict(nnx.to_flat_state(nnx.state(net)))
    weights = {}
    for entry in entries(net.arch):
        if entry.path not in arrays:
            raise UserError(
                f"The network {net.arch.name!r} has no {entry.keys[0]}: its classifier was removed "
                "or its BatchNorm folded. Take the weights before that."
            )
        array = np.asarray(arrays[entry.path][...])
        parts = list(array) if entry.stacked else [array]
        for key, part in zip(entry.keys, parts, strict=True):
            # A copy, and in PyTorch's memory order: a view would keep the whole stack alive.
            part = np.array(part.transpose(entry.axes) if entry.axes else part, order="C")
            weights[key] = part[:, :, 0, 0] if entry.linear else part
    return weights


def entries(arch: Architecture) -> Iterator[Entry]:
    """Every array of the network's state, in network order."""
    if arch.family is not None:
        yield from _authors_entries(arch)
        return
    num_stages = len(arch.stages)
    for section, rows in itertools.groupby(layer_table(arch), key=lambda row: row.section):
        rows = list(rows)
        layers = [row.layer for row in rows]
        if section == "head":
            yield from _section_entries(("head",), [""], layers, arch.axes)
        elif section in ("stem", "final"):
            i = 0 if section == "stem" else num_stages + 1
            yield from _section_entries((section,), [f"block_list.{i}"], layers, arch.axes)
        else:
            stage, place = section.removeprefix("stage").split(".")
            blocks = range(1, 1 + rows[0].repeat) if place == "rest" else range(1)
            prefixes = [f"block_list.{stage}.block_list.{j}" for j in blocks]
            path = ("stages", int(stage) - 1, place)
            yield from _section_entries(path, prefixes, layers, arch.axes)


def _authors_entries(arch: Architecture) -> Iterator[Entry]:
    """The same of a network that is named by its authors' code."""
    for section, rows in itertools.groupby(layer_table(arch), key=lambda row: row.section):
        rows = list(rows)
        layers = [row.layer for row in rows]
        name, _, place = section.partition(".")
        path: tuple[str | int, ...] = (name,)
        if name not in ("stem", "head"):
            group, number = re.fullmatch(r"(stage|norm)(\d+)", name).groups()
            path = (f"{group}s", int(number) - 1, *([place] if place else []))
        blocks = range(1, 1 + rows[0].repeat) if place == "rest" else range(1)
        modules = [authors_keys.modules(arch, section, block) for block in blocks]
        holding = [pair for pair in zip(layer_names(layers), layers, strict=True) if pair[0]]
        for (ours, layer), names in zip(holding, zip(*modules, strict=True), strict=True):
            for leaf, theirs in _leaves(layer):
                keys = [theirs if leaf == "token" else f"{m}.{theirs}".strip(".") for m in names]
                yield Entry(
                    path=(*path, "layers", ours, leaf),
                    keys=tuple(keys),
                    stacked=place == "rest",
                    axes=pytorch_axes(layer, arch.axes) if leaf == "kernel" else None,
                    linear=leaf == "kernel" and is_linear(layer),
                    resized=_method(layer) if leaf == "table" else None,
                )


def _method(layer: Layer) -> str | None:
    """How a table is resized; TNT's table of the words of a patch is of one size always."""
    if layer.function == "tile":
        return None
    return "bilinear" if layer.function == "bilinear" else "bicubic"


def _resized(
    entry: Entry, given: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The entry's tables that are of another size than the network's, at that size."""
    assert entry.resized is not None
    found = {}
    for key in entry.keys:
        if key in given and np.shape(given[key]) != expected[key]:
            table = resize_table(given[key], expected[key], entry.resized)
            found |= {} if table is None else {key: table}
    return found


def _leaves(layer: Layer) -> Iterator[tuple[str, str]]:
    for ours, theirs in LEAVES[layer.kind].items():
        if layer.kind == "conv" and ours == "bias" and not layer.bias:
            continue
        if layer.kind == "position" and ours == "token" and not layer.extra:
            continue
        yield ours, theirs


def _section_entries(
    path: tuple[str | int, ...], prefixes: Sequence[str], layers: Sequence[Layer], axes: int
) -> Iterator[Entry]:
    for name, layer in zip(layer_names(layers), layers, strict=True):
        if name is None:
            continue
        for ours, theirs in _leaves(layer):
            yield Entry(
                path=(*path, "layers", name, ours),
                keys=tuple(
                    f"{_pytorch_module(prefix, name)}.{theirs}".strip(".") for prefix in prefixes
                ),
                stacked=path[-1] == "rest",
                axes=pytorch_axes(layer, axes) if ours == "kernel" else None,
                resized=_method(layer) if ours == "table" else None,
            )


def _pytorch_module(prefix: str, name: str) -> str:
    """PyTorch's name of a layer; ``name`` is one of `layer_names`, say ``se2_norm``."""
    branch, place, kind = re.fullmatch(r"([a-z]+)(\d+)_(\w+)", name).groups()
    if branch == "head":
        return {"dense": "fc_linear", "layer_norm": "fc_norm"}[kind]
    leaf = {
        "conv": "conv1",
        "norm": "bn1",
        "layer_norm": "ln1",
        "layer_scale": "ls1",
        "position": "position",
    }[kind]
    if prefix.count("block_list") == 1:  # stem and final conv
        return f"{prefix}.{leaf}"
    inner = {"main": f"conv{place}", "se": f"se2.conv{place}", "shortcut": "residual_proj"}[branch]
    return f"{prefix}.{inner}.{leaf}"


def _pytorch_shape(entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = shape[1:] if entry.stacked else shape
    if entry.linear:
        return (shape[3], shape[2])
    return tuple(shape[axis] for axis in entry.axes) if entry.axes else shape


def _check(name: str, given: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    problems = [f"missing: {key} {expected[key]}" for key in expected if key not in given]
    problems += [f"unknown: {key} {np.shape(given[key])}" for key in given if key not in expected]
    problems += [
        f"shape: {key} is {np.shape(given[key])}, needs {shape}"
        for key, shape in expected.items()
        if key in given and np.shape(given[key]) != shape
    ]
    if problems:
        raise UserError(
            f"These weights do not fit the network {name!r}; build it from the structure they were "
            "trained with, and the same number of classes:\n  " + "\n  ".join(problems)
        )
