"""Images that are left out: those that cannot be read, and those without a usable label.

Corrupt ones are named once with the reason and counted, and too many of them end the run. Those
without a label end it at once, unless `config.data.unlabelled` asks to drop and count them.

In training the next image of the epoch takes the place of one left out, in the evaluation it has
mask 0. Workers mark them in the batch; the tally is kept in the main process, and the corrupt ones
go into the checkpoint with the place in the stream.
"""

import math
import sys
from collections.abc import Callable

import numpy as np

from deepmad_jax.data.dataset import Source
from deepmad_jax.errors import UserError

NONE = -1
"""In a batch's marks, in place of an image's number in its source."""

CORRUPT, UNLABELLED = "corrupt", "unlabelled"
"""The marks of a batch, one number a sample each."""


class CorruptData(UserError):
    """Data that cannot be read, more of it than allowed, or what describes it."""


class Unlabelled(Exception):
    """A sample whose label is none of the classes; says which. `chunks` tells the user."""


class Tally:
    """The images that this process has left out.

    Args:
        name: of the data set, for messages.
        source: where their names are asked for.
        most_share: of the source's images that may be corrupt.
        why: what is wrong with the image of a number.
        samples: what they are called, "images" or the like.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        most_share: float,
        why: Callable[[int], str],
        samples: str = "images",
    ):
        self._name, self._source, self._most_share, self._why = name, source, most_share, why
        self._samples, self._sample = samples, samples.removesuffix("s")
        self.corrupt: set[int] = set()
        self.unlabelled: set[int] = set()

    def add(self, corrupt: np.ndarray, unlabelled: np.ndarray) -> None:
        """Counts the images of one batch that are new; raises `CorruptData` past the share."""
        for number in unlabelled[unlabelled != NONE].tolist():
            self._drop(number)
        for number in corrupt[corrupt != NONE].tolist():
            if number not in self.corrupt:
                self.corrupt.add(number)
                _tell(
                    f"skipped a corrupt {self._sample} of {self._name}: {self._named(number)} "
                    f"({len(self.corrupt)} so far)"
                )
        size = len(self._source)
        if len(self.corrupt) > self._most_share * size:
            raise CorruptData(
                f"{len(self.corrupt)} of the {size:,} {self._samples} of {self._name} cannot be "
                f"read, more than the share of {self._most_share:g} that config.data.corrupt_share "
                f"allows. One of them: {self._named(max(self.corrupt))}. Prepare the data again, "
                "or raise --config.data.corrupt_share to train on the rest."
            )

    def end(self) -> None:
        """Tells how many were dropped, when all images have been seen."""
        if len(self.unlabelled) > 1:
            _tell(
                f"dropped {len(self.unlabelled):,} of the {len(self._source):,} images of "
                f"{self._name}, which have no usable label"
            )

    def _drop(self, number: int) -> None:
        if number in self.unlabelled:
            return
        self.unlabelled.add(number)
        count = len(self.unlabelled)
        # Whole splits may be without labels: not a line for each.
        if math.log10(count).is_integer():
            _tell(
                f"dropped an image of {self._name} without a usable label: {self._named(number)} "
                f"({count:,} so far)"
            )

    def _named(self, number: int) -> str:
        return f"{self._source.name_of(number)}: {self._why(number)}"


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
