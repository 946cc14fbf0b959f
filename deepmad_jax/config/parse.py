"""Values into a `Config`, from a config file and from command-line text."""

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
        values = values.to_dict()
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
        values, where = values[name], f"{where}.{name}"
    kind = kind_of(cls, leaf, where)
    if dataclasses.is_dataclass(kind):
        raise InvalidConfig(
            f"config.{path} is a group of fields; set one of them, such as "
            f"config.{path}.{dataclasses.fields(kind)[0].name}."
        )
    values[leaf] = convert(text, kind, f"config.{path}")


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
