"""The config and workdir that a command line asks for."""

import argparse
import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn, cast, get_args

from deepmad_jax.arch.textfile import read_text
from deepmad_jax.config import file
from deepmad_jax.config.parse import override, to_config, to_dict
from deepmad_jax.config.run import Config
from deepmad_jax.errors import InvalidConfig, did_you_mean
from deepmad_jax.fields import kind_of
from deepmad_jax.paths import local


def parse(argv: list[str]) -> tuple[Config, Path]:
    """The config and workdir a command line asks for; of a flag given twice the last one counts.

    Raises:
        InvalidConfig: a flag, file, field or value that does not exist or has a wrong type.
    """
    overrides, rest = _split_overrides(argv)
    parser = _Parser(prog="deepmad_jax", add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--workdir")
    given, unknown = parser.parse_known_args(rest[1:])
    if unknown:
        raise InvalidConfig(_about_unknown(unknown[0]))
    if not given.config:
        raise InvalidConfig(
            "No config was given: add --config FILE, such as --config configs/digits.py. See "
            "--help."
        )
    if given.workdir == "":
        raise InvalidConfig("--workdir is empty: name a folder, or leave it out for runs/NAME.")
    values = file.load(given.config)
    for path, text in overrides:
        override(values, path, text)
    config = to_config(values)
    return config, local(given.workdir or f"runs/{config.name}")


def recorded_config(workdir: Path) -> Config:
    """The config that the run in ``workdir`` was made with, of its ``config.json``.

    Raises:
        InvalidConfig: there is none, or it cannot be read.
    """
    try:
        values = json.loads(read_text(workdir / "config.json"))
    except (OSError, ValueError) as error:
        raise InvalidConfig(
            f"Cannot read {workdir / 'config.json'} ({error}): give the workdir of a run."
        ) from error
    return to_config(_recorded(Config, values))


def _recorded(group: type, values: dict[str, Any]) -> dict[str, Any]:
    """What a ``config.json`` says; its null is infinity where a field is never None."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        kind = kind_of(group, name, "config")
        if dataclasses.is_dataclass(kind):
            found[name] = _recorded(cast(type, kind), value)
        elif value is not None or type(None) in get_args(kind):
            found[name] = value
        else:
            found[name] = math.inf
    return found


def field_list() -> str:
    """Every field with its default, a line each, as a command line gives it."""
    lines = []

    def walk(prefix: str, group: dict[str, Any]) -> None:
        for name, value in group.items():
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)
            else:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else value
                lines.append(f"  --config.{prefix}{name}={text}")

    walk("", to_dict(Config()))
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        raise InvalidConfig(f"On the command line: {message}. See --help.")


_FLAGS = ("--config", "--workdir", "--distributed", "--help")


def _about_unknown(item: str) -> str:
    flag = item.partition("=")[0]
    if not item.startswith("-"):
        hint = "flags start with --, and a value follows its own flag; "
        hint += f"did you mean --config {item}?" if ".py" in item else "see --help."
    elif re.match("--?config[^a-z=]", item):
        hint = "fields of the config are set as --config.GROUP.FIELD=VALUE; see --help for all."
    else:
        near = did_you_mean(flag, _FLAGS).rstrip("?")
        hint = f"{near}; fields of the config are set as --config.GROUP.FIELD=VALUE, see --help."
    return f"On the command line, {item!r} means nothing: {hint}"


def _split_overrides(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """``--config.a.b=v`` and ``--config.a.b v`` taken out of a command line, and the rest of it."""
    overrides, rest = [], argv[:1]
    items = iter(argv[1:])
    for item in items:
        flag = item.lstrip("-")
        if not (item.startswith("-") and flag.startswith("config.")):
            rest.append(item)
            continue
        path, equals, text = flag.removeprefix("config.").partition("=")
        if not equals:
            following = next(items, "--")
            if following.startswith("--"):
                raise InvalidConfig(f"--config.{path} needs a value: --config.{path}=VALUE.")
            text = following
        overrides.append((path, text))
    return overrides, rest
