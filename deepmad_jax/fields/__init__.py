"""Fields of settings: the one place that says what values a field takes, and makes them plain.

A group of settings is a frozen dataclass whose annotations say type and range
(``weight_decay: NotNegative = 5e-5``) and whose ``__post_init__`` calls `settle`. So config files,
the command line and the library take the same spellings ("1.8G", NumPy numbers, "3,5" for a list)
and give the same refusals, and equal settings are equal Python values: int, float, bool, str, None
and tuples of them. Checks across several fields stay with the group.
"""

from deepmad_jax.fields.convert import convert
from deepmad_jax.fields.groups import build, converted, kind_of, settle
from deepmad_jax.fields.limits import (
    CHECKPOINTS,
    DTYPES,
    AtLeastOne,
    Channels,
    Count,
    FilePath,
    Limit,
    Natural,
    NotNegative,
    OddSize,
    OneOf,
    Pixels,
    Positive,
    Precision,
    Range,
    Seed,
    Share,
    ShareBelowOne,
    SomePath,
    SomeShare,
    Title,
    WhichCheckpoint,
)

__all__ = [
    "CHECKPOINTS",
    "DTYPES",
    "AtLeastOne",
    "Channels",
    "Count",
    "FilePath",
    "Limit",
    "Natural",
    "NotNegative",
    "OddSize",
    "OneOf",
    "Pixels",
    "Positive",
    "Precision",
    "Range",
    "Seed",
    "Share",
    "ShareBelowOne",
    "SomePath",
    "SomeShare",
    "Title",
    "WhichCheckpoint",
    "build",
    "convert",
    "converted",
    "kind_of",
    "settle",
]
