"""Running a config file: its ``get_config``, and what Python says when there is something wrong.

Whatever the file raises becomes an `InvalidConfig` that names the line of the file: it is the
user's code, and a traceback through ours would hide that.
"""

import inspect
import linecache
import os
import re
import runpy
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from deepmad_jax.config.parse import to_dict
from deepmad_jax.config.run import Config
from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.paths import expand_home


def load(reference: str) -> ml_collections.ConfigDict:
    """What ``get_config`` of a config file returns.

    Args:
        reference: ``FILE``, or ``FILE:VARIANT``, which hands ``get_config`` the variant. A colon
            may also stand in the file's own path. Where there is no such file, ``configs/r18.py``,
            ``r18.py`` and ``r18`` are the project's own (`own_configs`).
    Raises:
        InvalidConfig: no such file, or one that does not give a config; the message says in which
            line, and what Python said.
    """
    file, variant = _split(expand_home(reference))
    _check_file(file)
    namespace = _run(file, lambda: runpy.run_path(file))
    if "get_config" not in namespace:
        raise InvalidConfig(
            f"{file} defines no function get_config(): let it return default_config() with its "
            "fields set, as the files in configs/ do."
        )
    get_config = namespace["get_config"]
    arguments = (variant,) if variant else ()
    _check_arguments(file, get_config, arguments)
    return _run(file, lambda: _as_config_dict(get_config(*arguments)))


def own_configs() -> dict[str, Path]:
    """The project's own config files by name, wherever the package is installed.

    In a folder of their own they are named with it, as ``detect/shapes``.
    """
    package = Path(__file__).parents[1]
    # In an installed package they lie within it (setup.py), in a checkout beside it.
    inside = package / "configs"
    folder = inside if inside.is_dir() else package.parent / "configs"
    # Those that lie in the folder itself first.
    files = sorted(folder.rglob("*.py"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def _split(reference: str) -> tuple[str, str]:
    """The file and the variant: the longest part before a colon that is a file wins."""
    ends = [len(reference), *(m.start() for m in reversed([*re.finditer(":", reference)]))]
    for end in ends:
        if os.path.isfile(reference[:end]):  # which takes what no path can be, unlike Path's
            return reference[:end], reference[end + 1 :]
    name, _, variant = reference.partition(":")
    own = own_configs().get(name.removeprefix("configs/").removesuffix(".py"))
    if own and not os.path.exists(name):
        return str(own), variant
    # None is: what ends in .py was meant as the file, or all of it.
    found = re.fullmatch(r"(.*\.py)(?::(.*))?", reference, re.DOTALL)
    return (found[1], found[2] or "") if found else (reference, "")


def _check_file(file: str) -> None:
    path = Path(file)
    if os.path.isdir(file):
        inside = sorted(found.name for found in path.glob("*.py") if found.is_file())
        names = f"name one of its files: {', '.join(inside)}" if inside else "name a .py file"
        raise InvalidConfig(f"The config {path} is a folder; {names}.")
    if not os.path.isfile(file):
        near = [f"{file}.py", f"{file.replace('.', os.sep)}.py"]
        hint = next((f"; did you mean {other}?" for other in near if os.path.isfile(other)), None)
        hint = hint or f"; the project's own are {', '.join(own_configs())}."
        raise InvalidConfig(f"There is no config file {path}{hint}")
    if path.suffix != ".py":
        record = path.name == "config.json"
        raise InvalidConfig(
            f"The config {path} is no Python file; give a .py file with a function get_config()"
            + (": a run's config.json only records what the run was made with." if record else ".")
        )
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"Cannot read the config file {path}: {error.strerror}.") from error
    if b"\0" in text:
        line = text[: text.index(b"\0")].count(b"\n") + 1
        raise InvalidConfig(
            f"In {path}, line {line}: there is a null byte, which no Python text holds; save the "
            "file as UTF-8."
        )


def _check_arguments(file: str, get_config: Any, arguments: tuple[str, ...]) -> None:
    if not callable(get_config):
        raise InvalidConfig(f"get_config in {file} is {get_config!r}, but must be a function.")
    try:
        signature = inspect.signature(get_config)
    except (TypeError, ValueError):
        return  # of a built-in function; the call tells
    try:
        signature.bind(*arguments)
    except TypeError:
        if arguments and not signature.parameters:
            hint = f"{file} has no variants; leave out {':' + arguments[0]!r}."
        else:
            hint = (
                f"get_config{signature} in {file} must be callable without an argument, or with "
                "the variant alone: def get_config(variant=''): ..."
            )
        raise InvalidConfig(hint) from None


def _run(file: str, call: Callable[[], Any]) -> Any:
    """What ``call`` returns; what the user's file raises in it is told with its line."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit among them: a config must not end the program
        raise InvalidConfig(f"In {file}{_line(error, file)}: {_said(error, file)}") from error


def _line(error: BaseException, file: str) -> str:
    """The deepest line of the user's file that led to the error, with its source."""
    number = None
    if isinstance(error, SyntaxError) and error.filename == file:
        number = error.lineno
    else:
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == file:
                number = line
    if not number:
        return ""
    linecache.checkcache(file)
    source = linecache.getline(file, number).strip()
    return f", line {number}" + (f" ({source[:80]})" if source else "")


def _said(error: BaseException, file: str) -> str:
    if isinstance(error, UserError):
        return str(error)
    text = str(error)
    if isinstance(error, SyntaxError) and error.filename == file:
        text = error.msg
        text += ". Save the file as UTF-8." if "codec can't decode" in text else ""
    # ConfigDict's own messages print the whole config before they name the nearest field.
    if near := re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text):
        return f"there is no field {near[2]!r}; did you mean {near[1]!r}?"
    if unknown := re.search(r'Key "(.+?)" does not exist and cannot be added', text):
        return f"there is no field {unknown[1]!r}; see --help for all of them."
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."


def _as_config_dict(values: Any) -> ml_collections.ConfigDict:
    if isinstance(values, Config):
        values = to_dict(values)
    if isinstance(values, Mapping | ml_collections.FrozenConfigDict):
        return ml_collections.ConfigDict(values, type_safe=False)
    if isinstance(values, ml_collections.ConfigDict):
        return values
    if inspect.iscoroutine(values):
        values.close()  # or Python warns that nobody waited for it
    hint = "; does it end in `return config`?" if values is None else "."
    raise InvalidConfig(
        f"get_config() returned {values!r:.100}, but must return the default_config() it has set "
        f"fields of{hint}"
    )
