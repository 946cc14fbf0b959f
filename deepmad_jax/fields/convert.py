"""A value as given -> the plain Python value of a field's type, within its limits."""

import functools
import numbers
import os
import types
import typing
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields.limits import HOME, OneOf, Range
from deepmad_jax.fields.text import NotANumber, number_of
from deepmad_jax.paths import expand_home


def convert(value: Any, kind: Any, name: str) -> Any:
    """``value`` as the plain value of a field.

    Args:
        value: such a value, a NumPy or other number, or text as on a command line. Lists are
            comma-separated there, with or without brackets; one value alone is a list of one.
        kind: int, float, bool, str, a tuple of one of these, or one of them or None; with limits
            as annotations (`fields.limits`).
        name: of the field, which opens the message.
    Raises:
        InvalidConfig: another type, or outside the limits.

    >>> from deepmad_jax.fields.limits import Count, Limit
    >>> convert("11.7M", Limit, "params"), convert("3,5", tuple[Count, ...], "kernels")
    (11700000.0, (3, 5))
    """
    kind = _parts(kind)
    value = _plain(value)
    if kind.optional and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    if not kind.many:
        return _one(value, kind, f"{name} is", "must be")
    items = _items(value, kind, name)
    return tuple(_one(_plain(item), kind, f"{name} holds", "each must be") for item in items)


class _Kind(typing.NamedTuple):
    """A field's type taken apart."""

    base: type
    limits: tuple[Any, ...]
    many: bool
    optional: bool


@functools.cache
def _parts(kind: Any) -> _Kind:
    options = [kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = list(typing.get_args(kind))
    optional = type(None) in options
    (kind,) = (option for option in options if option is not type(None))
    origin: Any = typing.get_origin(kind)
    many = origin is tuple
    if many:
        kind = typing.get_args(kind)[0]
    base, *limits = typing.get_args(kind) if hasattr(kind, "__metadata__") else (kind,)
    return _Kind(base, tuple(limits), many, optional)


def _plain(value: Any) -> Any:
    """Python's own for the values of arrays and paths; others as they are."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, JAX's, PyTorch's
        try:
            return value.tolist()
        except Exception:
            return value  # a traced array, which no field takes
    return value


def _items(value: Any, kind: _Kind, name: str) -> list[Any]:
    if isinstance(value, str):
        inside = value.strip().strip("()[]").strip()
        items = inside.removesuffix(",").split(",") if inside else []
        return [item.strip().strip("'\"") for item in items]
    if isinstance(value, dict | set | frozenset) or value is None:
        such = {int: "3,5", float: "0.1,1"}.get(kind.base, "a,b")
        raise InvalidConfig(f"{name} is {_shown(value)}, but must be a list, such as {such}.")
    return list(value) if isinstance(value, list | tuple | range) else [value]


def _one(value: Any, kind: _Kind, opening: str, must: str) -> Any:
    try:
        result = _READ[kind.base](value)
    except (NotANumber, TypeError, ValueError, OverflowError) as error:
        hint = f": {error}" if isinstance(error, NotANumber) and str(error) else ""
        raise InvalidConfig(
            f"{opening} {_shown(value)}, but {must} {_words(kind)}{hint}."
        ) from None
    for limit in kind.limits:
        if limit is HOME:
            result = expand_home(result)
        elif not limit.holds(result):
            if isinstance(limit, OneOf) and kind.base is str:
                raise InvalidConfig(f"{opening} {_shown(result)}; {limit.hint(result)}")
            raise InvalidConfig(f"{opening} {_shown(result)}, but {must} {limit}.")
    return result


def _read_bool(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if isinstance(value, bool):
        return value
    raise TypeError


def _read_float(value: Any) -> float:
    return float(_read_number(value)) + 0.0  # no negative zero, which is equal and prints otherwise


def _read_int(value: Any) -> int:
    number = _read_number(value)
    if isinstance(number, float) and not number.is_integer():
        raise TypeError
    return int(number)


def _read_number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str):
        return number_of(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real | Decimal):
        return float(value)
    raise TypeError


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(value)


_READ: dict[type, Callable[[Any], Any]] = {
    bool: _read_bool,
    float: _read_float,
    int: _read_int,
    str: _read_str,
}


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:70]} ... {text[-20:]}"


def _words(kind: _Kind) -> str:
    for limit in kind.limits:
        if isinstance(limit, OneOf):
            return f"{limit} or None" if kind.optional else str(limit)
    words = {int: "an integer", float: "a number", bool: "True or False", str: "text"}[kind.base]
    if HOME in kind.limits:
        words = "a path or name"
    if kind.base is float:
        words += ", such as 0.5 or 1.8G"
    if any(isinstance(limit, Range) and limit.unlimited for limit in kind.limits):
        words += " (inf for no limit)"
    return words + (" or None" if kind.optional else "")
