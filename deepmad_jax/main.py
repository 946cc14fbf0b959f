"""The command line: flags, start-up, and one dispatch over the jobs of a config.

    python -m deepmad_jax.main --config configs/r18.py --workdir runs/r18
    python -m deepmad_jax.main --config configs/r18.py --config.jobs=design --config.design.rho=0.4

Each job reads what the ones before left in the workdir, so any of them can be run alone. A mistake
of the user's ends with one message on stderr and exit status 2; what was already computed stays.
"""

import argparse
import inspect
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import ml_collections

from deepmad_jax import config as config_module
from deepmad_jax.config import JOBS, Config
from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.jobs import DISPATCH, TOGETHER
from deepmad_jax.paths import local

_HELP = f"""\
Design a convolutional network to a budget and train it.

usage: python -m deepmad_jax.main --config FILE[:VARIANT] [--workdir DIR] [--config.FIELD=VALUE ...]
                                  [--distributed auto | HOST:PORT,COUNT,INDEX]

  --config FILE         a config file, such as configs/digits.py or configs/r18.py; some take a
                        variant, such as configs/r18.py:quick
  --workdir DIR         where the run reads and leaves its files (default: runs/NAME)
  --config.FIELD=VALUE  sets any field of the config; lists are comma-separated
  --distributed SPEC    joins other processes that run the same command (docs/multi_host.md)

jobs (--config.jobs=design,train,evaluate): {", ".join(JOBS)}

examples
  python -m deepmad_jax.main --config configs/digits.py
  python -m deepmad_jax.main --config configs/zoo.py --config.name=resnet50 \
      --config.jobs=describe
  python -m deepmad_jax.main --config configs/r18.py --config.jobs=design \\
      --config.design.macs=2.5e9 --config.design.params=14e6 --config.design.kernels=3,5

fields and defaults
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the jobs of a command line (default ``sys.argv``); returns the exit status."""
    argv = list(sys.argv if argv is None else argv)
    if any(arg in ("--help", "-h", "-help", "--helpfull") for arg in argv[1:]):
        print(_HELP + _field_list())
        return 0
    argv, processes = _take_flag(argv, "distributed")
    try:
        config, workdir = parse(argv)
        if processes:
            _run_together(config, workdir, processes)
        else:
            run(config, workdir)
    except UserError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("deepmad_jax"):
            raise
        print(
            f"\nerror: This job needs {error.name}, which is not installed: pip install "
            "'deepmad_jax[train,report]', or -e '.[train,report]' in a checkout.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; what was already saved in the workdir stays.", file=sys.stderr)
        return 130
    return 0


def parse(argv: list[str]) -> tuple[Config, Path]:
    """The config and workdir a command line asks for.

    Raises:
        InvalidConfig: a flag, file, field or value that does not exist or has a wrong type.
        UserError: a workdir that is no folder of this machine.
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
        config_module.override(values, path, text)
    config = config_module.to_config(values)
    return config, local(given.workdir or f"runs/{config.name}")


def run(config: Config, workdir: Path, shared: Callable[..., None] | None = None) -> None:
    """Runs ``config.jobs`` in order; each leaves its files in ``workdir``.

    With ``shared``, which runs what it is given in the first of several processes, only `TOGETHER`
    is run by all of them.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot use {workdir} as workdir: {error.strerror}.") from error
    _enable_compilation_cache()
    for job in config.jobs:
        if shared is None or job in TOGETHER:
            DISPATCH[job](config, workdir)
        else:
            shared(lambda job=job: DISPATCH[job](config, workdir))


def _run_together(config: Config, workdir: Path, processes: str) -> None:
    """`run`, in one of several processes."""
    from deepmad_jax.processes import by_the_first, join, leave_if_one_is_lost

    join(processes)
    try:
        run(config, workdir, by_the_first)
    except Exception as error:
        leave_if_one_is_lost(error)
        raise


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        raise InvalidConfig(f"On the command line: {message}. See --help.")


def _load(config: str) -> ml_collections.ConfigDict:
    """What ``get_config`` of a config file returns; ``FILE:VARIANT`` hands it the variant."""
    # ml_collections' own loader relies on a call that newer Pythons drop.
    file, _, variant = config.partition(":")
    file = os.path.expanduser(file)  # a shell leaves the ~ of --config=~/own.py alone
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


def _take_flag(argv: list[str], name: str) -> tuple[list[str], str | None]:
    """``argv`` without ``--NAME=VALUE`` or ``--NAME VALUE``, and the value."""
    for i, item in enumerate(argv):
        if item.startswith(f"--{name}="):
            return argv[:i] + argv[i + 1 :], item.partition("=")[2]
        if item == f"--{name}" and i + 1 < len(argv):
            return argv[:i] + argv[i + 2 :], argv[i + 1]
    return argv, None


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


def _enable_compilation_cache() -> None:
    """Keeps compiled programs between processes: a design then starts in a second or two."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepmad_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)  # for the processes of a sweep
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _field_list() -> str:
    lines = []

    def walk(prefix: str, group: dict[str, Any]) -> None:
        for name, value in group.items():
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)
            else:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else value
                lines.append(f"  --config.{prefix}{name}={text}")

    walk("", config_module.to_dict(Config()))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
