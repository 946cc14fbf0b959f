"""Weights and runs that lie behind an address, brought to this machine.

``https://host/net.safetensors`` is one file; ``gs://bucket/run``, and the other stores of
`data.places`, are a file of weights or the folder of a run, of which the architecture, the config
and the newest checkpoint are taken. What was brought once is not asked for again.
"""

import hashlib
import os
import re
import secrets
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.paths import local

if TYPE_CHECKING:
    from etils import epath

OF_A_RUN = ("architecture.json", "config.json", "classes.json")
"""Files of a run's folder that are taken, where they are there."""

SECONDS = 60.0
"""How long a web server may be silent."""


def fetched(source: str) -> Path:
    """Where a file or run's folder lies on this machine, which may be where it was.

    Args:
        source: a path, or an address.
    Raises:
        MissingData: nothing is at the address.
        UserError: an address that cannot be read.
    """
    address = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", source)
    if not address:
        return local(source)
    name = source.rstrip("/").rpartition("/")[2] or "run"
    target = _folder() / hashlib.sha256(source.encode()).hexdigest()[:16] / name
    if not target.exists():
        partial = target.with_name(f"{name}.{secrets.token_hex(4)}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            bring = _download if address[1] in ("http", "https") else _copy
            bring(source, partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            partial.unlink(missing_ok=True)
    return target


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "deepmad_jax" / "fetched"


def _download(address: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as found, target.open("wb") as file:
            shutil.copyfileobj(found, file)
    except urllib.error.HTTPError as error:
        raise MissingData(
            f"{address} could not be read: the server says {error.code} {error.reason}. Look at "
            "the address; of a run's folder on a web server give a file of weights in it."
        ) from error
    except OSError as error:
        raise UserError(
            f"{address} could not be read ({error}): look at the network, or copy the file to "
            "this machine and give its path."
        ) from error


def _copy(address: str, target: Path) -> None:
    """A file, or what is needed of a run's folder, out of a store."""
    from deepmad_jax.data.places import READ_BY, place

    found = place(address, tuple(READ_BY), "Copy it to this machine and give its path.")
    if not found.exists():
        raise MissingData(f"There is nothing at {address}: look at the address.")
    if not found.is_dir():
        target.write_bytes(found.read_bytes())
        return
    target.mkdir()
    for name in OF_A_RUN:
        if (found / name).exists():
            (target / name).write_bytes((found / name).read_bytes())
    steps = _steps(found / "checkpoints")
    if steps:
        newest = found / "checkpoints" / str(max(steps))
        _copy_folder(newest, target / "checkpoints" / newest.name)


def _steps(checkpoints: "epath.Path") -> list[int]:
    """Of the whole ones: what is being written has another name."""
    if not checkpoints.exists():
        return []
    return [int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()]


def _copy_folder(source: "epath.Path", target: Path) -> None:
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_dir():
            _copy_folder(path, target / path.name)
        else:
            (target / path.name).write_bytes(path.read_bytes())
