"""Reads docstrings as they are written here: plain text in which only backticks mean something.

Signatures show types without the limits of their values, which the text below says in words.

- An indented block after a blank line is code, whether or not its announcement ends with ``::``.
- An asterisk is an asterisk, and a colon after some words is a colon.
- Fields of a named tuple are described in its docstring, not once more each.
"""

import re
from typing import Any

from sphinx.application import Sphinx

BEFORE_NAPOLEON, AFTER_NAPOLEON = 400, 600
_NAMES = re.compile(r"^(\s+\w+)((?:, \w+)+)(:\s)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the hooks of autodoc."""
    app.connect("autodoc-process-docstring", _as_written, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-docstring", _as_it_was, priority=AFTER_NAPOLEON)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _without_limits)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _as_written(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    for i, line in enumerate(lines):
        line = re.sub(r"(?<=/)\*", r"\\*", line)
        announces = line.endswith(":") and not line.endswith("::")
        if announces and lines[i + 1 : i + 2] == [""] and _indented(lines[i + 2 : i + 3], line):
            line += ":"
        # "a, b: both" would be read as b of type a.
        lines[i] = _NAMES.sub(lambda m: m[1] + m[2].replace(" ", "") + m[3], line)
    _WRITTEN[name] = list(lines)


_WRITTEN: dict[str, list[str]] = {}
"""Docstrings as they were before napoleon read them."""


def _as_it_was(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    # Napoleon takes what stands before a colon in the docstring of a constant for its type.
    if what in ("data", "attribute"):
        lines[:] = _WRITTEN[name]


def _indented(following: list[str], line: str) -> bool:
    """Whether the following line stands further right."""
    margin = len(line) - len(line.lstrip())
    return bool(following) and following[0].startswith(" " * (margin + 4))


def _skip(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    return True if type(obj).__name__ == "_tuplegetter" else None


def _without_limits(
    app: Sphinx, what: str, name: str, obj: object, options: object, *parts: str | None
) -> tuple[str | None, ...]:
    return tuple(part and plain_types(part) for part in parts)


def plain_types(text: str) -> str:
    """The text with every ``Annotated[T, ...]`` as T.

    >>> plain_types("(a: tuple[Annotated[int, Range(low=1, high=9), Odd()], ...] = (3, 5))")
    '(a: tuple[int, ...] = (3, 5))'
    """
    while (start := text.find(_ANNOTATED)) >= 0:
        first = last = None
        depth = 1
        for i in range(start + len(_ANNOTATED), len(text)):
            depth += (text[i] in "[(") - (text[i] in "])")
            if depth == 1 and text[i] == "," and first is None:
                first = i
            if depth == 0:
                last = i
                break
        text = text[:start] + text[start + len(_ANNOTATED) : first] + text[last + 1 :]
    return text


_ANNOTATED = "Annotated["
