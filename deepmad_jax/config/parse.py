"""Values into a `Config`, from a config file and from command-line text."""

import contextlib
import dataclasses
from typing import Any

import ml_collections

from deepmad_jax.config.run import Config
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import build, convert, kind_of


def default_config() -> ml_collections.ConfigDict:
    """Every field with its default, as the ConfigDict a config file edits.

    Locked, so that a misspelt field fails where it is written.
    """
    # `to_config` checks types: it knows Optional and tuple fields, ConfigDict does not.
    config = ml_collections.ConfigDict(_plain(Config()), type_safe=False)
    return config.lock()


def to_config(values: Any) -> Config:
    """The frozen `Config` of a ConfigDict or nested dict.

    Raises:
        InvalidConfig: an unknown field (with the nearest known one), or a value of a wrong type or
            out of range.
    """
    if isinstance(values, ml_collections.ConfigDict):
        values = _resolved(values, "config")
    return build(Config, values, "config")


def override(values: ml_collections.ConfigDict, path: str, text: str) -> None:
    """Sets the field ``path`` ("design.macs") from command-line text.

    Lists are comma-separated, with or without brackets; one value alone is a list of one.

    >>> config = default_config()
    >>> override(config, "design.kernels", "3")
    >>> override(config, "design.macs", "2.5G")
    >>> config.design.kernels, config.design.macs
    ((3,), 2500000000.0)
    """
    *parents, leaf = path.split(".")
    cls, where = Config, "config"
    for name in parents:
        cls = kind_of(cls, name, where)
        if not dataclasses.is_dataclass(cls):
            raise InvalidConfig(f"config.{path}: {name} is a single field and holds no others.")
        if name not in values:  # a file may leave out what it leaves alone
            _set(values, name, ml_collections.ConfigDict(type_safe=False))
        values, where = values[name], f"{where}.{name}"
        if not isinstance(values, ml_collections.ConfigDict):
            raise InvalidConfig(
                f"{where} is {values!r}, so that config.{path} cannot be set: the config file must "
                f"leave it a group and set its fields, such as {where}.{leaf} = ..."
            )
    kind = kind_of(cls, leaf, where)
    if dataclasses.is_dataclass(kind):
        raise InvalidConfig(
            f"config.{path} is a group of fields; set one of them, such as "
            f"config.{path}.{dataclasses.fields(kind)[0].name}."
        )
    _set(values, leaf, convert(text, kind, f"config.{path}"))


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


def _set(group: ml_collections.ConfigDict, name: str, value: Any) -> None:
    # Unlocked only where it is needed: that computes every value, and some are still to be set.
    is_new = group.is_locked and name not in group
    unlocked = group.unlocked() if is_new else contextlib.nullcontext()
    untyped = group.ignore_type() if group.is_type_safe else contextlib.nullcontext()
    with unlocked, untyped:
        group[name] = value


def _resolved(group: ml_collections.ConfigDict, where: str) -> dict[str, Any]:
    """The values of a ConfigDict, those that are computed from others among them."""
    if where.count(".") > 9:
        raise InvalidConfig(f"{'.'.join(where.split('.')[:3])} is a group that holds itself.")
    found = {}
    for name, value in group.items(preserve_field_references=True):
        if isinstance(value, ml_collections.ConfigDict):
            value = _resolved(value, f"{where}.{name}")
        elif isinstance(value, ml_collections.FieldReference):
            try:
                value = value.get()
            except Exception as error:  # of the config's own functions, or a value still to be set
                raise InvalidConfig(
                    f"{where}.{name} has no value ({type(error).__name__}: {error}): give it one, "
                    f"as with --{where}.{name}=VALUE."
                ) from error
        found[name] = value
    return found


def _plain(value: Any) -> Any:
    # Not dataclasses.asdict: it would deep-copy, and keep no order guarantee we state.
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value
