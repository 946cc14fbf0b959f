"""Python literals read from text, each dict knowing the lines it came from. Nothing is executed.

What `ast.literal_eval` reads, less sets, bytes and complex numbers; but a reader of the result can
say where in the file a value stands.
"""

import ast
from typing import Any

from deepmad_jax.errors import InvalidArchitecture


class LocatedDict(dict[str, Any]):
    """A dict from a file: equal to a plain one, and knows its lines, counted from 1.

    Attributes:
        line: where it opens.
        lines: key -> the line of its value.
    """

    line: int
    lines: dict[str, int]


def read_literal(text: str) -> Any:
    """The value of a text that is one Python literal: lists, tuples, dicts, strings, numbers.

    Raises:
        InvalidArchitecture: the text is something else; the message names the line.

    >>> value = read_literal("[{'k': 3,\\n  'out': 8}]")
    >>> value, value[0].lines["out"]
    ([{'k': 3, 'out': 8}], 2)
    """
    body = text.removeprefix("\ufeff").lstrip()
    skipped = text[: len(text) - len(body)].count("\n")
    try:
        tree = ast.parse(body, mode="eval")
        ast.increment_lineno(tree, skipped)
        return _value(tree.body)
    except SyntaxError as error:
        line = (error.lineno or 1) + skipped
        raise InvalidArchitecture(f"line {line}: no Python literal: {error.msg}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InvalidArchitecture):
            raise
        raise InvalidArchitecture(f"This is no Python literal: {error}.") from error


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return _dict(node)
    if isinstance(node, ast.Constant) and not isinstance(node.value, bytes | complex):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if isinstance(number, int | float):
            return -number
    raise InvalidArchitecture(
        f"line {node.lineno}: {ast.unparse(node)!r} is no literal. A structure holds lists, dicts, "
        "strings and numbers only; nothing in it is computed."
    )


def _dict(node: ast.Dict) -> LocatedDict:
    found = LocatedDict()
    found.line, found.lines = node.lineno, {}
    for key, value in zip(node.keys, node.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            raise InvalidArchitecture(f"line {value.lineno}: a key must be a string in quotes.")
        if key.value in found:
            raise InvalidArchitecture(f"line {key.lineno}: the key {key.value!r} is given twice.")
        found[key.value] = _value(value)
        found.lines[key.value] = key.lineno
    return found
