"""Images and labels out of the shards of a prepared data set, and what messages call them."""

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from deepmad_jax.data import records
from deepmad_jax.data.decode import CorruptImage

UNREADABLE = (OSError, RuntimeError, ValueError, LookupError)
"""What ArrayRecord's reader and a record that is no example of this data set raise."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """The records of one file that a split takes: ``count`` of them from number ``first`` on."""

    path: str
    first: int
    count: int


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Encoded images and labels of raw records.

    Attributes:
        raw: the records' bytes, by index.
        split: its name, for messages.
        shards: the files that they lie in, in order.
    """

    raw: Sequence[bytes]
    split: str
    shards: tuple[Shard, ...]

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            features = records.read_features(self.raw[index])
            return {
                "image": records.first_bytes(features["image"]),
                "label": records.first_integer(features["label"]),
            }
        except UNREADABLE as error:
            raise CorruptImage(" ".join(str(error).split())) from error

    def name_of(self, index: int) -> str:
        """The image's own file and its record, or the shard where the record cannot be read."""
        try:
            file_name = records.first_bytes(records.read_features(self.raw[index])["file_name"])
        except KeyError:  # a set without names
            return f"record {index} of {self.split}"
        except UNREADABLE:
            return f"record {index} of {self.split}, {self._place(index)}"
        return f"{file_name.decode(errors='replace')} (record {index} of {self.split})"

    def _place(self, index: int) -> str:
        ends = list(itertools.accumulate(shard.count for shard in self.shards))
        number = bisect.bisect_right(ends, index)
        shard = self.shards[number]
        return f"which is record {shard.first + index - ends[number] + shard.count} in {shard.path}"
