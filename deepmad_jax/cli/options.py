"""Fields of settings as options of a command: names, types, limits and help are the fields' own."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from click.shell_completion import CompletionItem

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import choices_of, convert, described, kinds_of


class Field(click.ParamType):
    """A value that `fields.convert` makes plain: "1.8G" is a number, "3,5" a list."""

    name = "value"

    def __init__(self, kind: Any, field: str, known: Sequence[Any] = ()) -> None:
        self.kind, self.field = kind, field
        self.choices = tuple(known) or choices_of(kind)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return convert(value, self.kind, self.field)
        except InvalidConfig as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(map(str, self.choices)) or "VALUE"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        # Of a comma-separated list the last item is the one being written.
        before, comma, last = incomplete.rpartition(",")
        known = map(str, self.choices)
        return [CompletionItem(before + comma + word) for word in known if word.startswith(last)]


class OneOfOrFile(click.ParamType):
    """Text of which some values are known by name and others are files."""

    name = "text"

    def __init__(self, known: Callable[[], Iterable[str]]) -> None:
        self.known = known

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = [name for name in self.known() if name.startswith(incomplete)]
        return [*map(CompletionItem, names), *_files(incomplete)]


def field_options(
    cls: type,
    first: Sequence[str] = (),
    known: Mapping[str, Sequence[str]] = MappingProxyType({}),
    only: Sequence[str] | None = None,
) -> Callable[[Any], Any]:
    """Gives a command an option for every field of a group; it gets None for what is not given.

    Args:
        cls: the group.
        first: fields whose options stand first.
        known: values to name and complete, of fields whose type does not say them.
        only: the fields that have an option; None is all.
    """
    texts, kinds = described(cls), kinds_of(cls)
    names = [*first, *(name for name in only or kinds if name not in first)]

    def decorate(command: Any) -> Any:
        for name in reversed(names):
            flag = f"--{name.replace('_', '-')}"
            if kinds[name] is bool:
                spelled, kind = f"{flag}/--no-{flag[2:]}", bool
            else:
                spelled, kind = flag, Field(kinds[name], name, known.get(name, ()))
            text = re.sub(r"``?", "", texts.get(name, ""))
            make = click.option(spelled, name, type=kind, default=None, help=text)
            command = make(command)
        return command

    return decorate


def _files(incomplete: str) -> list[CompletionItem]:
    """Files and folders that begin so; folders end with a slash."""
    folder, slash, start = incomplete.rpartition("/")
    try:
        found = sorted(Path(f"{folder}{slash}" or ".").expanduser().iterdir())
    except OSError:
        return []
    fitting = [path for path in found if path.name.startswith(start)]
    if not start.startswith("."):
        fitting = [path for path in fitting if not path.name.startswith(".")]
    ends = ("/" if path.is_dir() else "" for path in fitting)
    return [
        CompletionItem(f"{folder}{slash}{path.name}{end}")
        for path, end in zip(fitting, ends, strict=True)
    ]
