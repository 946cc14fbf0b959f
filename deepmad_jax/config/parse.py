"""Values into a `Config`: the one place that checks the names and types of its fields."""

import ast
import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

import ml_collections

from deepmad_jax.config.run import Config
from deepmad_jax.errors import InvalidConfig, did_you_mean


def default_config() -> ml_collections.ConfigDict:
    """Every field with its default, as the ConfigDict a config file edits.

    Locked, so that a misspelt field fails where it is written.
    """
    # Types are checked by `to_config`, which knows Optional and tuple fields; ConfigDict does not.
    config = ml_collections.ConfigDict(_plain(Config()), type_safe=False)
    return config.lock()


def to_config(values: Any) -> Config:
    """The frozen `Config` of a ConfigDict or nested dict.

    Raises:
        InvalidConfig: an unknown field (with the nearest known one) or a value of a wrong type.
    """
    if isinstance(values, ml_collections.ConfigDict):
        values = values.to_dict()
    config: Config = _build(Config, values, "config")
    return config


def override(values: ml_collections.ConfigDict, path: str, text: str) -> None:
    """Sets the field ``path`` ("design.macs") from command-line text.

    Lists are comma-separated, with or without brackets; one value alone is a list of one.

    >>> config = default_config()
    >>> override(config, "design.kernels", "3")
    >>> override(config, "design.macs", "2.5e9")
    >>> config.design.kernels, config.design.macs
    ((3,), 2500000000.0)
    """
    *parents, leaf = path.split(".")
    cls: Any = Config
    for depth, name in enumerate(parents):
        cls = _field_types(cls, ".".join(["config", *parents[:depth]]))(name)
        if not dataclasses.is_dataclass(cls):
            raise InvalidConfig(f"config.{path}: {name} is a single field and holds no others.")
        values = values[name]
    kind = _field_types(cls, ".".join(["config", *parents]))(leaf)
    if dataclasses.is_dataclass(kind):
        raise InvalidConfig(
            f"config.{path} is a group of fields; set one of them, such as "
            f"config.{path}.{dataclasses.fields(kind)[0].name}."
        )
    values[leaf] = _coerce(_literal(text, kind), kind, f"config.{path}")


def differing_fields(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names, with both values, of the fields in which two plain configs differ."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        a, b, name = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differing_fields(a, b, f"{name}.")
        elif a != b:
            lines.append(f"{name}: {a!r} -> {b!r}")
    return lines


def to_dict(config: Config) -> dict[str, Any]:
    """Plain nested dict of a `Config`, as written to ``config.json``."""
    return _plain(config)


def _plain(value: Any) -> Any:
    # Not dataclasses.asdict: it would deep-copy, and keep no order guarantee we state.
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def _build(cls: Any, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise InvalidConfig(f"{where} must be a group of fields, not {values!r}.")
    kind_of = _field_types(cls, where)
    arguments = {}
    for name, value in values.items():
        kind = kind_of(name)
        if dataclasses.is_dataclass(kind):
            arguments[name] = _build(kind, value, f"{where}.{name}")
        else:
            arguments[name] = _coerce(value, kind, f"{where}.{name}")
    return cls(**arguments)


def _field_types(cls: Any, where: str) -> Callable[[str], Any]:
    """Field name -> its type; the function raises InvalidConfig on an unknown name."""
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]

    def kind_of(name: str) -> Any:
        if name not in names:
            raise InvalidConfig(f"{where} has no field {name!r}; {did_you_mean(name, names)}")
        return hints[name]

    return kind_of


def _literal(text: str, kind: Any) -> Any:
    """Command-line text as a Python value: split where a list is wanted, a string where one is."""
    options = _options(kind)
    if text in ("None", "none") and type(None) in options:
        return None
    if any(_is_tuple(option) for option in options):
        inside = text.strip().strip("()[]")
        return tuple(_scalar(part) for part in inside.split(",") if part.strip())
    if str in options:
        return text
    return _scalar(text)


def _scalar(text: str) -> Any:
    text = text.strip().strip("'\"")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"inf": float("inf"), "nan": float("nan")}.get(text, text)


def _coerce(value: Any, kind: Any, where: str) -> Any:
    for option in _options(kind):
        if option is type(None) and value is None:
            return None
        if _is_tuple(option):
            items = tuple(value) if isinstance(value, list | tuple) else (value,)
            return tuple(_coerce(v, typing.get_args(option)[0], where) for v in items)
        if isinstance(value, bool) and option is not bool:
            continue
        if isinstance(option, type) and isinstance(value, option):
            return value
        if option is float and isinstance(value, int):
            return float(value)
        if option is int and isinstance(value, float) and value.is_integer():
            return int(value)
    raise InvalidConfig(f"{where} is {value!r}, but must be {_describe(kind)}.")


def _options(kind: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    options = typing.get_args(kind) if is_union else (kind,)
    # None last, so that a list of one None is never made of an absent value.
    return tuple(sorted(options, key=_is_tuple))


def _is_tuple(kind: Any) -> bool:
    origin: Any = typing.get_origin(kind)
    return origin is tuple


def _describe(kind: Any) -> str:
    words = {int: "an integer", float: "a number", bool: "True or False", str: "a word"}
    words[type(None)] = "None"
    parts = []
    for option in _options(kind):
        if _is_tuple(option):
            inner = _describe(typing.get_args(option)[0]).removeprefix("a ").removeprefix("an ")
            parts.append(f"a list of {inner}s, such as 3,5")
        else:
            parts.append(words.get(option, str(option)))
    return " or ".join(parts)
