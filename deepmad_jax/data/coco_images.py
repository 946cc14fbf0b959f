"""The bytes of a split's images: in a folder, or packed in one ArrayRecord in the JSON's order."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, Protocol

from deepmad_jax.data.decode import CorruptImage
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
        """Raises `UserError` where there are not as many records as images."""
        found = len(_opened(self.path))
        if found != count:
            raise UserError(
                f"{self.path} has {found:,} records, but its annotations name {count:,} images: "
                "pack them again (python launch/pack_coco.py)."
            )

    def read(self, number: int, file: str) -> bytes:
        try:
            return bytes(_opened(self.path)[number])
        except (OSError, IndexError, ValueError) as error:
            raise CorruptImage(str(error)) from error

    def name_of(self, number: int, file: str) -> str:
        return f"{file} (record {number} of {self.path})"


def pack(annotations: Path, folder: Path, records: Path) -> int:
    """Writes the image files that a COCO JSON names into one ArrayRecord; returns how many.

    Raises:
        MissingData: a file that it names is not there.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    images = json.loads(annotations.read_bytes())["images"]
    missing = next((i["file_name"] for i in images if not (folder / i["file_name"]).exists()), None)
    if missing is not None:
        raise MissingData(f"{annotations} names {missing}, which is not in {folder}.")
    partial = records.with_name(records.name + ".partial")
    # One record a group: they are read in random order.
    writer = ArrayRecordWriter(str(partial), "group_size:1")
    for image in images:
        writer.write((folder / image["file_name"]).read_bytes())
    writer.close()
    partial.replace(records)
    return len(images)


@functools.lru_cache(maxsize=4)
def _opened(path: str) -> Any:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    return ArrayRecordDataSource([path])
