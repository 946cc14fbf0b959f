"""The weights in a PyTorch checkpoint, whatever a training script keeps beside them.

Opened with ``weights_only=True`` only: nothing in a file is executed. Optimiser states, epochs and
command-line arguments lie beside the weights; the few harmless classes that these are made of
(`HARMLESS`) are put in as empty objects, and a file with any other class is refused.

What is looked for, at any depth: a dict of tensors, itself or under one of `KEYS`. Averages of the
weights come first, as `Checkpoints.restore_variables` takes those of a run: they are what such
scripts evaluate. Prefixes that wrappers put before every key (`PREFIXES`) are taken off.
"""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmad_jax.errors import UserError

KEYS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema"),
    *("state_dict", "model", "model_state_dict", "model_state", "module", "net", "network"),
    *("weights", "params"),
)
"""Where training scripts put their weights, averages before the others: timm's ``train.py``
(``state_dict``), torchvision's references and ConvNeXt's (``model``), the released TinyNAS code
(``state_dict``), Lightning (``state_dict``), DeepSpeed (``module``)."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema.")
"""What DataParallel, `torch.compile`, Lightning and averages put before every key."""

COUNTERS = ("n_averaged",)
"""Entries of wrappers beside the weights: how many states an average is of."""

HARMLESS = (
    "argparse.Namespace",
    *(
        f"pathlib{place}.{kind}Path"
        for place in ("", "._local")
        for kind in ("Posix", "Windows", "PurePosix", "PureWindows")
    ),
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    "torchvision.transforms.functional.InterpolationMode",
)
"""Classes and functions that checkpoints name beside the weights. None of them is ever called."""


def load_tensors(torch: Any, path: Path, key: str | None = None) -> dict[str, Any]:
    """The tensors by key, without wrappers' prefixes.

    Args:
        torch: the module.
        path: of an existing file.
        key: the entry that is wanted; None searches `KEYS`.
    Raises:
        UserError: the file is something else, is cut short, holds more than data, or has no
            weights where they are looked for.
    """
    found = _find(_unpickle(torch, path), torch.Tensor, key, path)
    keys = [name for name in found if name not in COUNTERS]
    start = ""
    while prefix := next(
        (p for p in PREFIXES if all(name.startswith(start + p) for name in keys)), ""
    ):
        start += prefix
    if any(found[name].is_meta for name in keys):
        raise UserError(f"{path} holds the shapes of weights only (PyTorch's device 'meta').")
    return {name.removeprefix(start): found[name] for name in keys}


class _Left:
    """Stands where an object of a class of `HARMLESS` was; keeps nothing of it."""

    def __new__(cls, *_: Any) -> "_Left":
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _unpickle(torch: Any, path: Path) -> Any:
    stand_ins = [(_Left, name) for name in HARMLESS]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            # Of protocols and TorchScript; what is wrong is said below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    # Torch raises whatever its readers do, some of it with a page of advice to switch the safety
    # off.
    except Exception as error:
        raise UserError(f"Cannot read {path}: {_reason(path, str(error))}.") from error


def _reason(path: Path, text: str) -> str:
    foreign = re.search(r"GLOBAL (\S+) (?:was not|whose module)", text)
    if foreign and _is_whole(path, foreign[1]):
        return (
            f"it asks to run {foreign[1]} on being opened, so it is more than data. If you trust "
            f"its source, save the weights alone from the code that made it: {_SAVE}"
        )
    with path.open("rb") as file:
        by_pickle = file.read(2) in (b"\x80\x03", b"\x80\x04", b"\x80\x05")
    if "Unsupported operand" in text and (by_pickle or zipfile.is_zipfile(path)):
        return f"it was pickled by another protocol than torch.save's own. Save it again: {_SAVE}"
    return (
        "it is no whole PyTorch checkpoint, but damaged, cut short or another kind of file. Copy "
        "or download it again"
    )


_SAVE = "torch.save({'state_dict': model.state_dict()}, path)"


def _is_whole(path: Path, name: str) -> bool:
    """Whether a pickle has a name to its end; a file that is cut short may end inside one."""
    last = name.rpartition(".")[2].encode()
    return zipfile.is_zipfile(path) or (last != b"" and last + b"\n" in path.read_bytes())


def _find(found: Any, tensor: type, key: str | None, path: Path) -> Mapping[str, Any]:
    """The dict of tensors in what a file holds; the ways to it are tried in the order of `KEYS`."""
    if key is not None:
        if not isinstance(found, Mapping) or key not in found:
            raise UserError(f"{path} has no entry {key!r}: it holds {_contents(found)}.")
        inner = _search(found[key], tensor)
        if inner is None:
            raise UserError(f"{path} holds no tensors by key under {key!r}.")
        return inner
    inner = _search(found, tensor)
    if inner is None:
        raise UserError(
            f"{path} holds no PyTorch state dict: that is tensors by key, by itself or under one "
            f"of {', '.join(KEYS)}. It holds {_contents(found)}."
        )
    return inner


def _search(found: Any, tensor: type) -> Mapping[str, Any] | None:
    if not isinstance(found, Mapping) or not found:
        return None
    if all(isinstance(k, str) and isinstance(v, tensor) for k, v in found.items()):
        return found
    inner = (_search(found[name], tensor) for name in KEYS if name in found)
    return next((state for state in inner if state is not None), None)


def _contents(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"a {type(found).__name__}"
    names = [repr(name) for name in found]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "an empty dict"
