"""Where data lies: a folder of this machine, or an address such as ``gs://bucket/images``.

Addresses are read by etils and fsspec with the package that each store has for it. Nothing is
written there: see `deepmad_jax.paths.local`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from etils import epath

from deepmad_jax.errors import UserError
from deepmad_jax.paths import local

READ_BY = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}
"""The package that fsspec needs for the addresses of each scheme."""


def place(path: str, schemes: Sequence[str], instead: str) -> epath.Path:
    """The path, with ``~`` for the home folder, or the address; it need not be there.

    Args:
        path: as the user wrote it.
        schemes: of addresses that can be read, among `READ_BY`.
        instead: what to do where an address has another one, a sentence.
    Raises:
        UserError: an address that cannot be read, or whose store cannot be reached.
    """
    # One slash where a pathlib.Path has swallowed the other.
    address = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+", path)
    if not address:
        return epath.Path(local(path))
    scheme = address[1]
    if scheme not in schemes:
        known = " or ".join(f"{known}://" for known in schemes)
        raise UserError(
            f"{path} is an address that nothing here reads: expected a folder of this machine or "
            f"an address with {known}. {instead}"
        )
    found = epath.Path(f"{scheme}://{path[address.end() :]}")
    try:
        found.exists()
    except ImportError as error:
        raise UserError(
            f"Reading {path} needs the package {READ_BY[scheme]}: pip install {READ_BY[scheme]}"
        ) from error
    except Exception as error:  # each store has errors of its own
        raise UserError(
            f"{path} cannot be reached ({type(error).__name__}: {error}): look at the address, the "
            "network and the credentials, or copy the data to a folder of this machine."
        ) from error
    return found


def is_address(path: epath.Path) -> bool:
    """Whether it lies elsewhere than in the file system of this machine."""
    return "://" in str(path)


def walk(root: epath.Path) -> Iterator[tuple[tuple[str, ...], list[str], list[str]]]:
    """Every folder below ``root``, itself first: names leading to it, its folders, its files.

    Links are followed. Folders that the caller takes out of the list need not be entered.

    Raises:
        UserError: a folder of this machine that cannot be listed.
    """
    if is_address(root):
        top = None
        for folder, folders, files in root.walk():
            top = top or folder
            yield PurePosixPath(folder).relative_to(top).parts, folders, files
        return
    for name, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        folders[:] = [inner for inner in folders if not _leads_back(name, inner)]
        yield PurePosixPath(os.path.relpath(name, root)).parts, folders, files


def _leads_back(folder: str, name: str) -> bool:
    """Whether it is a link to a folder that it lies in, which would be walked without end."""
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return False
    here, there = os.path.realpath(folder), os.path.realpath(path)
    return os.path.commonpath([here, there]) == there


def _refuse(error: OSError) -> None:
    raise UserError(f"Cannot list {error.filename}: {error.strerror}. Make it readable.") from error
