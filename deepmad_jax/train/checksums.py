"""Checksums of the files of a checkpoint: whether each is the one that was written.

Orbax checks the tables of its arrays, not the arrays themselves nor its JSON files: one flipped bit
there would give other numbers, or a name that is misspelt, without a word.
"""

import json
import zlib
from pathlib import Path

FILE_NAME = "checksums.json"

_PIECE_BYTES = 1 << 20


def write_checksums(directory: Path) -> None:
    """Writes the CRC-32 of every file in a directory's folders into ``checksums.json`` there.

    To be called when these are written, and before the directory gets its name. Files beside the
    folders are left out: Orbax writes them later, and reads nothing of what is restored there.
    """
    folders = (path for path in directory.iterdir() if path.is_dir())
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(directory).as_posix(): _checksum(path) for path in files}
    (directory / FILE_NAME).write_text(json.dumps(sums, indent=1) + "\n")


def first_fault(directory: Path) -> str | None:
    """What is wrong with the files of a directory, or None: the first that is missing or changed.

    None too where there are no checksums: an older version wrote the checkpoint.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return None
    try:
        sums = json.loads(path.read_text())
        for name, expected in sums.items():
            if not (directory / name).exists():
                return f"{name} is missing"
            if _checksum(directory / name) != expected:
                return f"{name} is not what was written"
    except (OSError, ValueError, AttributeError) as error:
        return f"{FILE_NAME} is damaged" if isinstance(error, ValueError) else str(error)
    return None


def _checksum(path: Path) -> str:
    total = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            total = zlib.crc32(piece, total)
    return f"{total:08x}"
