"""An architecture as one line of text: a published network's name, or a file.

    resnet50                       of the zoo
    runs/r18/architecture.json     a file, a run's folder, or a TinyNAS structure file
    resnet20:classes=100           any of them for other data

This is what ``config.architecture`` and ``config.names`` hold. In a config file `published` and
`from_file` write it, and fail where it is written if there is no such network or file.
"""

import os
import re
from pathlib import Path

from deepmad_jax.arch import tinynas
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.zoo import ZOO, with_changes, zoo
from deepmad_jax.errors import InvalidArchitecture
from deepmad_jax.paths import local

WEIGHTS = (".npz", ".safetensors", ".pth.tar", ".pth", ".pt")
"""Endings of files of weights, which `interop.files` reads."""

OTHERS = (
    *(".json", ".txt", ".py", ".csv", ".jsonl", ".yaml", ".yml", ".pkl", ".pickle"),
    *(".bin", ".ckpt", ".h5", ".hdf5", ".msgpack", ".onnx", ".tflite", ".stablehlo"),
    *(".zip", ".tar", ".gz", ".tgz"),
)
"""Endings by which a text is meant as a file, whether or not such a file can be read."""


def published(name: str, **changes: int) -> str:
    """The reference of a published network, such as ``config.architecture`` wants.

    Raises:
        InvalidArchitecture: an unknown name, or a change that `zoo` does not make.

    >>> published("resnet20", classes=100)
    'resnet20:classes=100'
    """
    zoo(name, **changes)
    return name + "".join(f":{field}={value}" for field, value in changes.items())


def from_file(path: str | Path) -> str:
    """The reference of an ``architecture.json``; raises `InvalidArchitecture` naming the file."""
    # With a slash no file is taken for a network of its name.
    text = os.path.join(".", local(path))
    load(text)
    return text


def resolve(text: str) -> Architecture:
    """The architecture a reference stands for.

    Raises:
        InvalidArchitecture: no network or file of that name, a broken file, or a bad change.

    >>> resolve("resnet50:resolution=160").resolution
    160
    """
    match = re.fullmatch(r"(.*?)((?::\w+=[^:=]*)*)", text, re.DOTALL)
    assert match is not None  # the first group takes what the second does not
    what, changes = match.groups()
    arch = load(what) if what not in ZOO and is_path(what) else zoo(what)
    given = dict(change.split("=") for change in changes.split(":")[1:])
    return with_changes(arch, {field: _int(field, value) for field, value in given.items()})


def is_path(text: str) -> bool:
    """Whether a text means a file or folder, there or not, and no name of a published network.

    >>> is_path("runs/r18"), is_path("r18.pth"), is_path("resnet50"), is_path("resnet50.a1_in1k")
    (True, True, False, False)
    """
    return (
        any(separator in text for separator in "/\\")
        or text.startswith("~")
        or text.lower().endswith(WEIGHTS + OTHERS)
        or os.path.exists(text)
    )


def load(path: str | Path, *, resolution: int = 224, classes: int = 1000) -> Architecture:
    """The architecture in a file, or in a run's folder.

    Args:
        path: ``~`` is the home folder.
        resolution, classes: of a TinyNAS structure file, which does not say.
    Raises:
        InvalidArchitecture: no such file, or what it holds is no architecture.
    """
    path = local(path)
    if path.is_dir():
        path = path / "architecture.json"
    ending = path.suffix.lower()
    if ending == ".txt":
        return tinynas.load(path, resolution=resolution, classes=classes)
    if path.exists() and path.name.lower().endswith(WEIGHTS + OTHERS) and ending != ".json":
        raise InvalidArchitecture(
            f"{path} is no architecture by its name: give an architecture.json, a run's folder, or "
            f"the .txt of a TinyNAS structure. Files of weights end in {', '.join(WEIGHTS)}."
        )
    return Architecture.load(path)


def _int(field: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidArchitecture(f"{field} is {value!r}, but must be an integer.") from None
