"""The errors a user can cause, and the nearest-name hint their messages carry.

Every message says what was given, what was expected and what to do. ``main`` prints them without
a traceback and exits with status 2; anything else is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable

NAMED = 5
"""Things that a message names, where there are more."""


class UserError(Exception):
    """Something the user gave cannot be used; the message says what to do about it."""


class InvalidArchitecture(UserError, ValueError):
    """An architecture that cannot be built: a bad number, an unknown block, a broken file."""


class InvalidConfig(UserError, ValueError):
    """A config field that does not exist, or a value of the wrong type or out of range."""


class InfeasibleProblem(UserError, ValueError):
    """No network of the search space meets every constraint of the problem."""


class NotText(UserError, ValueError):
    """A file that should hold text in UTF-8 and holds something else."""


class MissingData(UserError, FileNotFoundError):
    """A data set or file that is needed is not where it was looked for."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known name, or the whole list where nothing is near.

    >>> did_you_mean("kernals", ["kernels", "strides"])
    "did you mean 'kernels'?"
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"


def some_of(texts: Iterable[str]) -> str:
    """The first few of many, and how many more there are.

    >>> some_of("abcdefg")
    'a; b; c; d; e and 2 more'
    """
    texts = list(texts)
    more = f" and {len(texts) - NAMED:,} more" if len(texts) > NAMED else ""
    return f"{'; '.join(texts[:NAMED])}{more}"
