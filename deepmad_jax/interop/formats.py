"""A network, or its structure alone, in every format this package writes, by the format's name."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from deepmad_jax.arch import tinynas
from deepmad_jax.errors import UserError, did_you_mean
from deepmad_jax.interop.files import write_weights
from deepmad_jax.interop.litert import write_litert
from deepmad_jax.interop.onnx_graph import write_onnx
from deepmad_jax.interop.stablehlo import write_stablehlo
from deepmad_jax.interop.tinynas_weights import from_network
from deepmad_jax.nets import Network


@dataclasses.dataclass(frozen=True)
class Export:
    """One format: the end of its files' names, what writes one, whether it takes folded nets."""

    ending: str
    write: Callable[[Network, Path], None]
    folds: bool = False


def export(
    net: Network, directory: str | Path, formats: Sequence[str], fold: bool = False
) -> list[Path]:
    """Writes the network in each format; returns the files, named after the architecture.

    Args:
        net: with its weights.
        directory: must exist.
        formats: of `EXPORTS`.
        fold: fold BatchNorm into the convs, in the formats that hold a computation. The others hold
            the weights as they are, so that they can be read again.
    Raises:
        UserError: an unknown format, a missing package, or what the format cannot hold. Formats
            before it are written.
    """
    for name in formats:
        if name not in EXPORTS:
            raise UserError(f"There is no export {name!r}; {did_you_mean(name, EXPORTS)}")
    folded = net.with_folded_batch_norm() if fold else net
    # A name may be any text, a path among others.
    stem = re.sub(r"[^\w+-]+", "_", net.arch.name) or "network"
    written = []
    for name in formats:
        form = EXPORTS[name]
        path = Path(directory) / f"{stem}{form.ending}"
        form.write(folded if form.folds else net, path)
        written.append(path)
    return written


def _write_weights(net: Network, path: Path) -> None:
    write_weights(path, from_network(net), net.arch)


def _write_safetensors(net: Network, path: Path) -> None:
    _write_weights(net, path)
    path.with_name("architecture.json").write_text(net.arch.to_json())


def _write_structure(net: Network, path: Path) -> None:
    path.write_text(tinynas.to_text(net.arch))


EXPORTS = {
    "safetensors": Export(".safetensors", _write_safetensors),
    "npz": Export(".npz", _write_weights),
    "pytorch": Export(".pth.tar", _write_weights),
    "tinynas": Export(".txt", _write_structure),
    "onnx": Export(".onnx", write_onnx, folds=True),
    "stablehlo": Export(".stablehlo", write_stablehlo, folds=True),
    "litert": Export(".tflite", write_litert, folds=True),
}
"""Name of a format -> how it is written."""
