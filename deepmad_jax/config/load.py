"""The config and workdir that a command line asks for."""

import argparse
import inspect
import runpy
from pathlib import Path
from typing import Any, NoReturn

import ml_collections

from deepmad_jax.config.parse import override, to_config, to_dict
from deepmad_jax.config.run import Config
from deepmad_jax.errors import InvalidConfig, UserError


def parse(argv: list[str]) -> tuple[Config, Path]:
    """The config and workdir a command line asks for.

    Raises:
        InvalidConfig: a flag, file, field or value that does not exist or has a wrong type.
    """
    overrides, rest = _split_overrides(argv)
    parser = _Parser(prog="deepmad_jax", add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--workdir")
    given = parser.parse_args(rest[1:])
    if given.config is None:
        raise InvalidConfig(
            "No config was given: add --config FILE, such as --config configs/digits.py. See "
            "--help."
        )
    values = _load(given.config)
    for path, text in overrides:
        override(values, path, text)
    config = to_config(values)
    return config, Path(given.workdir or f"runs/{config.name}")


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


def _load(config: str) -> ml_collections.ConfigDict:
    """What ``get_config`` of a config file returns; ``FILE:VARIANT`` hands it the variant."""
    # ml_collections' own loader relies on a call that newer Pythons drop.
    file, _, variant = config.partition(":")
    if not Path(file).is_file():
        raise InvalidConfig(f"There is no config file {file}; the project's own are in configs/.")
    try:
        get_config = runpy.run_path(file).get("get_config")
        if get_config is None:
            raise InvalidConfig(f"{file} defines no function get_config().")
        if variant and not inspect.signature(get_config).parameters:
            raise InvalidConfig(f"{file} has no variants; leave out {':' + variant!r}.")
        return get_config(variant) if variant else get_config()
    except UserError:
        raise
    except AttributeError as error:
        # ConfigDict is locked; the last line of its message names the nearest field.
        raise InvalidConfig(f"In {file}: {str(error).splitlines()[-1]}") from error
    except (SyntaxError, TypeError, ValueError, LookupError) as error:
        raise InvalidConfig(f"In {file}: {type(error).__name__}: {error}") from error


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
            following = next(items, None)
            if following is None:
                raise InvalidConfig(f"--config.{path} needs a value: --config.{path}=VALUE.")
            text = following
        overrides.append((path, text))
    return overrides, rest
