"""An architecture as one line of text: a published network's name, or a file.

    resnet50                       of the zoo
    runs/r18/architecture.json     a file
    resnet20:classes=100           either of them for other data

This is what ``config.architecture`` holds. In a config file `published` and `from_file` write it,
and fail where it is written if there is no such network or file.
"""

import os
import re
from pathlib import Path

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.zoo import ZOO, with_changes, zoo
from deepmad_jax.errors import InvalidArchitecture


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
    text = os.path.join(".", path)  # with a slash no file is taken for a network of its name
    Architecture.load(text)
    return text


def resolve(text: str) -> Architecture:
    """The architecture a reference stands for.

    Raises:
        InvalidArchitecture: no network or file of that name, a broken file, or a bad change.

    >>> resolve("resnet50:resolution=160").resolution
    160
    """
    match = re.fullmatch(r"(.*?)((?::\w+=[^:=]*)*)", text)
    assert match is not None  # the first group takes what the second does not
    what, changes = match.groups()
    is_path = Path(what).suffix or os.sep in what or Path(what).is_file()
    arch = Architecture.load(what) if is_path and what not in ZOO else zoo(what)
    given = dict(change.split("=") for change in changes.split(":")[1:])
    return with_changes(arch, {field: _int(field, value) for field, value in given.items()})


def _int(field: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidArchitecture(f"{field} is {value!r}, but must be an integer.") from None
