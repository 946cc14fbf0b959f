"""Images that cannot be read: named once, counted, and too many of them end the run.

In training the next image of the data set takes the place of a corrupt one, in the evaluation it
has mask 0. Workers mark them in the batch; the tally is kept in the main process and goes into the
checkpoint with the place in the stream.
"""

import sys

import numpy as np

from deepmad_jax.data.dataset import Source
from deepmad_jax.errors import UserError

NOT_CORRUPT = -1
"""In a batch's ``corrupt``, in place of an image's number in its source."""


class CorruptData(UserError):
    """More images than allowed cannot be read."""


class Tally:
    """The corrupt images that this process has met.

    Args:
        name: of the data set, for messages.
        source: where their names are asked for.
        most_share: of the source's images that may be corrupt.
    """

    def __init__(self, name: str, source: Source, most_share: float):
        self._name, self._source, self._most_share = name, source, most_share
        self.numbers: set[int] = set()

    def add(self, corrupt: np.ndarray) -> None:
        """Counts the images of one batch that are new; raises `CorruptData` past the share."""
        for number in corrupt[corrupt != NOT_CORRUPT].tolist():
            if number not in self.numbers:
                self.numbers.add(number)
                print(
                    f"skipped a corrupt image of {self._name}: {self._source.name_of(number)} "
                    f"({len(self.numbers)} so far)",
                    file=sys.stderr,
                    flush=True,
                )
        size = len(self._source)
        if len(self.numbers) > self._most_share * size:
            raise CorruptData(
                f"{len(self.numbers)} of the {size:,} images of {self._name} cannot be read, more "
                f"than the share of {self._most_share:g} that config.data.corrupt_share allows. "
                f"One of them: {self._source.name_of(max(self.numbers))}. Prepare the data again, "
                "or raise --config.data.corrupt_share to train on the rest."
            )
