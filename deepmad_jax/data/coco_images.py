"""The bytes of a split's images: in a folder, or packed in one ArrayRecord in the JSON's order."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.data.record_source import UNREADABLE
from deepmad_jax.errors import MissingData, UserError


class Images(Protocol):
    """Bytes of image files by place and name; can be pickled."""

    def read(self, number: int, file: str) -> bytes:
        """Raises `CorruptImage` where they cannot be read."""
        ...

    def name_of(self, number: int, file: str) -> str:
        """For messages."""
        ...


@dataclasses.dataclass(frozen=True)
class FolderImages:
    """One file an image, by name."""

    folder: str

    def read(self, number: int, file: str) -> bytes:
        try:
            return (Path(self.folder) / file).read_bytes()
        except OSError as error:
            raise CorruptImage(str(error)) from error

    def name_of(self, number: int, file: str) -> str:
        return f"{self.folder}/{file}"


@dataclasses.dataclass(frozen=True)
class RecordImages:
    """One record an image, by place in the annotations; see `pack`."""

    path: str

    def check(self, count: int) -> None:
        """Raises `UserError` where there are not as many records as images, or a broken file."""
        try:
            found = len(_opened(self.path))
        except UNREADABLE as error:
            why = str(error).strip() or "cut off"
            raise UserError(
                f"{self.path} cannot be read ({why}): pack the images again (python "
                "launch/pack_coco.py)."
            ) from error
        if found != count:
            raise UserError(
                f"{self.path} has {found:,} records, but its annotations name {count:,} images: "
                "pack them again (python launch/pack_coco.py)."
            )

    def read(self, number: int, file: str) -> bytes:
        try:
            return bytes(_opened(self.path)[number])
        except UNREADABLE as error:
            raise CorruptImage(" ".join(str(error).split())) from error

    def name_of(self, number: int, file: str) -> str:
        return f"{file} (record {number} of {self.path})"


def pack(files: Sequence[str], folder: Path, records: Path) -> None:
    """Writes image files into one ArrayRecord, whole or not at all.

    Args:
        files: names in ``folder``, in the order of their annotations.
        folder: of the split.
        records: what is there is replaced.
    Raises:
        MissingData: a file is not there.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    missing = next((file for file in files if not (folder / file).is_file()), None)
    if missing is not None:
        raise MissingData(f"The annotations name {missing}, which is not in {folder}.")
    partial = records.with_name(records.name + ".partial")
    # One record a group: they are read in random order.
    writer = ArrayRecordWriter(str(partial), "group_size:1")
    for file in files:
        writer.write((folder / file).read_bytes())
    writer.close()
    partial.replace(records)


@functools.lru_cache(maxsize=4)
def _opened(path: str) -> Any:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource([path])
