"""Groups of fields: frozen dataclasses that `settle` themselves, and how they are built by name."""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from deepmad_jax.errors import InvalidConfig, did_you_mean
from deepmad_jax.fields.convert import convert

Group = TypeVar("Group")


def settle(group: Any) -> None:
    """Makes every field of a frozen dataclass plain; to be called first in ``__post_init__``.

    Raises:
        InvalidConfig: a value of a wrong type or out of range; the message opens with the field's
            name, as must those of the group's own checks, for `build` to complete it.
    """
    cls: type = type(group)
    for name, kind in kinds_of(cls).items():
        value = getattr(group, name)
        if not dataclasses.is_dataclass(kind):
            object.__setattr__(group, name, convert(value, kind, name))
        elif not isinstance(value, typing.cast(type, kind)):
            raise InvalidConfig(f"{name} is {value!r}, but must be a group of fields.")


def build(cls: type[Group], values: Any, where: str) -> Group:
    """The group of these values, groups within it included.

    Args:
        cls: a dataclass that settles itself.
        values: of its fields, nested as the groups are; what is left out has its default.
        where: the group's name, such as ``config``; messages name ``config.design.macs``.
    Raises:
        InvalidConfig: an unknown field (with the nearest known one), or a bad value.
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, Mapping):
        raise InvalidConfig(f"{where} must be a group of fields, not {values!r}.")
    arguments = {}
    for name, value in values.items():
        kind = kind_of(cls, name, where)
        is_group = dataclasses.is_dataclass(kind)
        arguments[name] = build(kind, value, f"{where}.{name}") if is_group else value
    try:
        return cls(**arguments)
    except InvalidConfig as error:
        raise InvalidConfig(f"{where}.{error}") from None


def converted(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Some fields' values made plain, before there is a group of them; raises as `build` does."""
    return {name: convert(value, kind_of(cls, name, where), name) for name, value in values.items()}


def kind_of(cls: type, name: str, where: str) -> Any:
    """The annotated type of a field; raises `InvalidConfig` where there is none of that name."""
    kinds = kinds_of(cls)
    if name not in kinds:
        raise InvalidConfig(f"{where} has no field {name!r}; {did_you_mean(str(name), kinds)}")
    return kinds[name]


@functools.cache
def kinds_of(cls: type) -> dict[str, Any]:
    """Every field's annotated type, by name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
