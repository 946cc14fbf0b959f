"""Weights in files: ``.npz``, ``.safetensors`` and PyTorch's ``.pth.tar``, each by PyTorch's keys.

What the keys mean is said in `tinynas_weights.py`, what a PyTorch checkpoint may hold besides in
`torch_file.py`. A ``.safetensors`` file also carries the architecture's JSON in its metadata, so
that it can be read alone. Nothing in a file is executed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.arch import Architecture
from deepmad_jax.errors import InvalidArchitecture, MissingData, UserError
from deepmad_jax.interop.contents import refusal
from deepmad_jax.interop.extras import need
from deepmad_jax.interop.torch_file import load_tensors

Weights = dict[str, np.ndarray]

ARCHITECTURE = "architecture"
"""Key of the architecture's JSON in a safetensors file's metadata."""


@dataclasses.dataclass(frozen=True)
class Format:
    """How one kind of file is read and written."""

    read: Callable[[Path, str | None], Weights]
    write: Callable[[Path, Mapping[str, np.ndarray], Architecture | None], None]


def read_weights(path: str | Path, key: str | None = None) -> Weights:
    """The arrays in a file by PyTorch key.

    Args:
        path: ends in one of `FORMATS`.
        key: the entry of a PyTorch checkpoint that has them, such as ``model``; None searches, see
            `torch_file.KEYS`.
    Raises:
        MissingData: there is no such file.
        UserError: an unknown kind of file, or one whose contents are not arrays by key.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingData(f"There is no file of weights at {path}.")
    form = _format_of(path)
    if key is not None and form is not _TORCH:
        raise UserError(
            f"key is {key!r}, but only a PyTorch file has entries to choose from: leave it out for "
            f"{path}."
        )
    try:
        reason = refusal(path, ".pth" if form is _TORCH else path.suffix.lower())
        if reason is None:
            return form.read(path, key)
    except (UserError, MemoryError):
        raise
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
    # The readers' own errors have no common base: zipfile, struct, safetensors, zlib.
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        reason = f"it is damaged or cut short ({line[:200]}): copy or download it again"
    raise UserError(f"Cannot read {path}: {reason}.")


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
    """The architecture a ``.safetensors`` file carries, or None where it carries none.

    Raises:
        InvalidArchitecture: it carries something else; the message names the file.
    """
    with need("safetensors", "export").safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(ARCHITECTURE)
    try:
        return Architecture.from_json(text) if text else None
    except InvalidArchitecture as error:
        raise InvalidArchitecture(f"The metadata of {path}: {error}") from error


def _format_of(path: Path) -> Format:
    for ending, form in FORMATS.items():
        if path.name.lower().endswith(ending):
            return form
    raise UserError(
        f"{path} is no file of weights by its name; known endings: {', '.join(FORMATS)}."
    )


def _read_npz(path: Path, _: str | None) -> Weights:
    with np.load(path, allow_pickle=False) as file:
        # Inputs and logits that a fixture records next to the weights are no weights.
        keys = [key for key in file.files if not key.startswith("__")]
        try:
            return {key: file[key] for key in keys}
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise UserError(
                f"Cannot read {path}: it holds Python objects besides arrays of numbers, and "
                "opening these may run anything."
            ) from error


def _write_npz(path: Path, weights: Mapping[str, np.ndarray], arch: Architecture | None) -> None:
    np.savez(path, **weights)


def _read_safetensors(path: Path, _: str | None) -> Weights:
    return need("safetensors.numpy", "export").load_file(path)


def _write_safetensors(
    path: Path, weights: Mapping[str, np.ndarray], arch: Architecture | None
) -> None:
    metadata = {"format": "pt"}
    if arch is not None:
        metadata[ARCHITECTURE] = arch.to_json()
    arrays = {key: np.ascontiguousarray(value) for key, value in weights.items()}
    need("safetensors.numpy", "export").save_file(arrays, path, metadata)


def _read_torch(path: Path, key: str | None) -> Weights:
    tensors = load_tensors(need("torch", "torch"), path, key)
    return {name: _to_numpy(tensor) for name, tensor in tensors.items()}


def _to_numpy(tensor: Any) -> np.ndarray:
    # NumPy has no bfloat16; a float32 holds any value of it and of float16.
    tensor = tensor.dequantize() if tensor.is_quantized else tensor.detach().to_dense()
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
