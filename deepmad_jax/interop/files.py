"""Weights in files: ``.npz``, ``.safetensors`` and PyTorch's ``.pth.tar``, each by PyTorch's keys.

What the keys mean is said in `tinynas_weights.py`. A ``.safetensors`` file also carries the
architecture's JSON in its metadata, so that it can be read alone. PyTorch files are opened with
``weights_only=True``: nothing in them is executed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.arch import Architecture
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.interop.extras import need

Weights = dict[str, np.ndarray]

ARCHITECTURE = "architecture"
"""Key of the architecture's JSON in a safetensors file's metadata."""


@dataclasses.dataclass(frozen=True)
class Format:
    """How one kind of file is read and written."""

    read: Callable[[Path], Weights]
    write: Callable[[Path, Mapping[str, np.ndarray], Architecture | None], None]


def read_weights(path: str | Path) -> Weights:
    """The arrays in a file by PyTorch key.

    Raises:
        MissingData: there is no such file.
        UserError: an unknown kind of file, or one whose contents are not arrays by key.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"There is no file of weights at {path}.")
    form = _format_of(path)
    try:
        return form.read(path)
    except UserError:
        raise
    # The readers' own errors have no common base: zipfile, pickle, struct, safetensors, torch.
    except Exception as error:
        raise UserError(f"Cannot read {path} as weights: {error}") from error


def write_weights(
    path: str | Path, weights: Mapping[str, np.ndarray], arch: Architecture | None = None
) -> None:
    """Writes arrays by PyTorch key; the end of the name says in which format.

    Args:
        path: what is there is replaced.
        weights: as `tinynas_weights.from_network` gives them.
        arch: put into the metadata of a ``.safetensors`` file; other formats have no place for it.
    """
    path = Path(path)
    partial = path.with_name("partial." + path.name)
    _format_of(path).write(partial, weights, arch)
    partial.replace(path)


def embedded_architecture(path: str | Path) -> Architecture | None:
    """The architecture a ``.safetensors`` file carries, or None where it carries none."""
    with need("safetensors", "export").safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(ARCHITECTURE)
    return Architecture.from_json(text) if text else None


def _format_of(path: Path) -> Format:
    for ending, form in FORMATS.items():
        if path.name.endswith(ending):
            return form
    raise UserError(
        f"{path} is no file of weights by its name; known endings: {', '.join(FORMATS)}."
    )


def _read_npz(path: Path) -> Weights:
    with np.load(path, allow_pickle=False) as file:
        # Inputs and logits that a fixture records next to the weights are no weights.
        return {key: file[key] for key in file.files if not key.startswith("__")}


def _write_npz(path: Path, weights: Mapping[str, np.ndarray], arch: Architecture | None) -> None:
    np.savez(path, **weights)


def _read_safetensors(path: Path) -> Weights:
    return need("safetensors.numpy", "export").load_file(path)


def _write_safetensors(
    path: Path, weights: Mapping[str, np.ndarray], arch: Architecture | None
) -> None:
    metadata = {"format": "pt"}
    if arch is not None:
        metadata[ARCHITECTURE] = arch.to_json()
    arrays = {key: np.ascontiguousarray(value) for key, value in weights.items()}
    need("safetensors.numpy", "export").save_file(arrays, path, metadata)


def _read_torch(path: Path) -> Weights:
    torch = need("torch", "torch")
    found: Any = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UserError(
            f"{path} holds no PyTorch state dict: it must be tensors by key, or such a dict under "
            "'state_dict'."
        )
    # A network wrapped for several devices has every key under "module.".
    prefix = "module." if all(key.startswith("module.") for key in found) else ""
    return {key.removeprefix(prefix): _to_numpy(value) for key, value in found.items()}


def _to_numpy(tensor: Any) -> np.ndarray:
    # NumPy has no bfloat16; a float32 holds any value of it and of float16.
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _write_torch(path: Path, weights: Mapping[str, np.ndarray], arch: Architecture | None) -> None:
    torch = need("torch", "torch")
    tensors = {}
    for key, value in weights.items():
        tensors[key] = torch.from_numpy(np.array(value))
        if key.endswith(".running_var"):
            # PyTorch's BatchNorm has this counter in its state; a strict load asks for it.
            counter = key.replace(".running_var", ".num_batches_tracked")
            tensors[counter] = torch.zeros((), dtype=torch.int64)
    torch.save({"state_dict": tensors}, path)


_TORCH = Format(_read_torch, _write_torch)
FORMATS = {
    ".npz": Format(_read_npz, _write_npz),
    ".safetensors": Format(_read_safetensors, _write_safetensors),
    ".pth.tar": _TORCH,
    ".pth": _TORCH,
    ".pt": _TORCH,
}
"""Ending of a file's name -> how it is read and written."""
