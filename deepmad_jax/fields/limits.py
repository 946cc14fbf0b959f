"""What a field's values must meet, as annotations: ``flip: Share = 0.5``.

A limit has ``holds(value)`` and, as text, ends the sentence "..., but must be ...".
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any

from deepmad_jax.errors import did_you_mean


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``; never nan.

    Attributes:
        low, high: the ends; they belong to the range unless said otherwise.
        above: ``low`` does not belong to it.
        below: ``high`` does not belong to it.
        unlimited: inf belongs to it, and stands for no limit.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    unlimited: bool = False

    def holds(self, value: float) -> bool:
        if value == math.inf:
            return self.unlimited
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        text = f"{'more than' if self.above else 'at least'} {self.low:,}"
        if self.unlimited:
            return f"{text} (inf for no limit)"
        if self.high == math.inf:
            return f"{text}, and finite"
        return f"{text} and {'less than' if self.below else 'at most'} {self.high:,}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of a few words or numbers."""

    known: Sequence[Any]

    def holds(self, value: Any) -> bool:
        return value in self.known

    def __str__(self) -> str:
        return " or ".join(map(str, self.known))

    def hint(self, value: Any) -> str:
        """The nearest known word."""
        return did_you_mean(str(value), map(str, self.known))


@dataclasses.dataclass(frozen=True)
class _Odd:
    def holds(self, value: int) -> bool:
        return value % 2 == 1

    def __str__(self) -> str:
        return "odd, such as 3 or 5"


@dataclasses.dataclass(frozen=True)
class _NotEmpty:
    def holds(self, value: str) -> bool:
        return bool(value.strip())

    def __str__(self) -> str:
        return "some text"


NOT_EMPTY = _NotEmpty()

CHECKPOINTS = ("newest", "best")
"""Which checkpoint of a run may be asked for."""

DTYPES = ("float32", "bfloat16")
"""What a network may compute in."""

HOME = "home"
"""Marks text in which a leading ``~`` is the user's home directory."""

MOST_CHANNELS = 2**20  # counts of wider layers would leave the whole numbers a float64 holds
_MOST = 2**31 - 1  # of what becomes an int32 in NumPy or XLA

Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Limit = Annotated[float, Range(0, above=True, unlimited=True)]
AtLeastOne = Annotated[float, Range(1, unlimited=True)]
Share = Annotated[float, Range(0, 1)]
SomeShare = Annotated[float, Range(0, 1, above=True)]
ShareBelowOne = Annotated[float, Range(0, 1, below=True)]
Count = Annotated[int, Range(1, _MOST)]
Natural = Annotated[int, Range(0, _MOST)]
Channels = Annotated[int, Range(1, MOST_CHANNELS)]
Pixels = Annotated[int, Range(1, 2**16)]
OddSize = Annotated[int, Range(1, 2**16), _Odd()]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # JAX takes a larger seed for its last 32 bits
FilePath = Annotated[str, HOME]
SomePath = Annotated[str, HOME, NOT_EMPTY]
Title = Annotated[str, NOT_EMPTY]
WhichCheckpoint = Annotated[str, OneOf(CHECKPOINTS)]
Precision = Annotated[str, OneOf(DTYPES)]
