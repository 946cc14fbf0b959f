"""Where files are read and written: folders of this machine, or of a file system it has mounted."""

import os
import re
import secrets
from pathlib import Path

from deepmad_jax.errors import InvalidConfig, UserError


def local(path: str | Path) -> Path:
    """The path, with ``~`` for the home folder.

    Raises:
        UserError: an address such as ``gs://bucket/run``. A run renames files and adds lines to
            them, which object stores do not do.

    >>> local("runs/r18").as_posix()
    'runs/r18'
    """
    text = os.fspath(path)
    # A Path has swallowed one of the slashes; one letter is a drive of Windows.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        raise UserError(
            f"{text} is an address, but only folders and files of this machine are read and "
            "written, or of a file system mounted here (NFS; a bucket by gcsfuse or the like). "
            "Give such a path."
        )
    return Path(expand_home(text))


def write_whole(path: Path, text: str) -> None:
    """Writes a text file whole or not at all.

    Raises:
        UserError: the disk is full, or the like.
    """
    # Of this process alone: parts of a study may write the same table at the same time.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(
            f"{path} could not be written: {error.strerror}. What was there is intact. Make room "
            "on the disk, or choose another --workdir."
        ) from error


def expand_home(text: str) -> str:
    """The path with a leading ``~`` replaced, which a shell does not do after an equals sign.

    Raises:
        InvalidConfig: ``~name`` of no user here.
    """
    path = os.path.expanduser(text)
    if path.startswith("~"):
        user = path.partition("/")[0]
        raise InvalidConfig(
            f"The path {text!r} starts with the home directory of {user[1:]!r}, whom this machine "
            f"does not know; for a folder that is called so, write ./{text}."
        )
    return path
