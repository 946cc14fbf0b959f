"""The command line: flags, start-up, and one dispatch over the jobs of a config.

    python -m deepmad_jax.main --config configs/r18.py --workdir runs/r18
    python -m deepmad_jax.main --config configs/r18.py --config.jobs=design --config.design.rho=0.4

Each job reads what the ones before left in the workdir, so any of them can be run alone. A mistake
of the user's ends with one message on stderr and exit status 2; what was already computed stays.
The console script ``deepmad`` (`cli`) is a shorter way to the same.
"""

from deepmad_jax.freed_memory import keep_freed_memory
from deepmad_jax.interrupts import INTERRUPTED, MESSAGE, watch_for_interrupts

if __name__ == "__main__":
    keep_freed_memory()  # before any thread
    watch_for_interrupts()  # before the imports below, which take their time

import os
import sys
from collections.abc import Callable
from pathlib import Path

from deepmad_jax.compiled import keep_compiled_programs
from deepmad_jax.config import JOBS, Config
from deepmad_jax.config.load import field_list, parse
from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.jobs import DISPATCH, READERS, TOGETHER

_USAGE = f"""\
Design a convolutional network to a budget and train it.

usage: python -m deepmad_jax.main --config FILE[:VARIANT] [--workdir DIR] [--config.FIELD=VALUE ...]
                                  [--distributed auto | HOST:PORT,COUNT,INDEX]

  --config FILE         a config file, such as configs/digits.py or configs/r18.py; some take a
                        variant, such as configs/r18.py:quick
  --workdir DIR         where the run reads and leaves its files (default: runs/NAME)
  --config.FIELD=VALUE  sets any field of the config, the last one where a field is set twice;
                        lists are comma-separated, numbers may have a unit: 50k, 11.7M, 1.8G
  --distributed SPEC    joins other processes that run the same command (docs/multi_host.md)
  --help                this text, and every field with its default

jobs (--config.jobs=design,train,evaluate): {", ".join(JOBS)}

examples
  python -m deepmad_jax.main --config configs/digits.py
  python -m deepmad_jax.main --config configs/zoo.py --config.name=resnet50 \\
      --config.jobs=describe
  python -m deepmad_jax.main --config configs/r18.py --config.jobs=design \\
      --config.design.macs=2.5e9 --config.design.params=14e6 --config.design.kernels=3,5

A shorter way to the same: deepmad --help.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the jobs of a command line (default ``sys.argv``); returns the exit status."""
    argv = list(sys.argv if argv is None else argv)
    if any(arg in ("--help", "-h", "-help", "--helpfull") for arg in argv[1:]):
        print(f"{_USAGE}\nfields and defaults\n{field_list()}")
        return 0
    if not argv[1:]:
        print(_USAGE, file=sys.stderr)
    return exit_status(lambda: run_command(argv))


def exit_status(call: Callable[[], int | None], tell: Callable[[str], None] | None = None) -> int:
    """What ``call`` returns, or the status by which a shell learns how it failed.

    ============  ======================================================================
    0             done
    1             a bug of ours, with its traceback
    2             something given cannot be used; one message says what to do about it
    75            another process of the run was lost (`processes.together`)
    130           interrupted with Ctrl-C
    143           asked to end by SIGTERM while training, after saving a checkpoint
    ============  ======================================================================

    Args:
        call: its result may be None, which is 0.
        tell: prints a message; default on stderr.
    """
    tell = tell or _tell
    try:
        return call() or 0
    except UserError as error:
        tell(f"error: {error}")
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("deepmad_jax"):
            raise
        extras = "serve" if error.name in ("starlette", "uvicorn") else "train,report"
        tell(
            f"error: This needs {error.name}, which is not installed: pip install "
            f"'deepmad_jax[{extras}]', or -e '.[{extras}]' in a checkout."
        )
        return 2
    except KeyboardInterrupt:
        tell(MESSAGE)
        return INTERRUPTED


def _tell(message: str) -> None:
    print(f"\n{message}", file=sys.stderr)


def run_command(argv: list[str]) -> None:
    """Runs the jobs of a command line; ``argv[0]`` is the program's name.

    Raises:
        UserError: as the jobs do; `InvalidConfig` where the line itself means nothing.
    """
    argv, processes = _take_flag(argv, "distributed")
    config, workdir = parse(argv)
    if processes:
        _run_together(config, workdir, processes)
    else:
        run(config, workdir)


def run(config: Config, workdir: Path, shared: Callable[..., None] | None = None) -> None:
    """Runs ``config.jobs`` in order; each leaves its files in ``workdir``.

    With ``shared``, which runs what it is given in the first of several processes, only `TOGETHER`
    is run by all of them.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"Cannot use {workdir} as workdir: {why}. Give another --workdir."
        ) from error
    if not (set(config.jobs) <= READERS or os.access(workdir, os.W_OK | os.X_OK)):
        raise UserError(
            f"Cannot use {workdir} as workdir: nothing may be written there. Give another "
            "--workdir, or change its permissions."
        )
    keep_compiled_programs(workdir / "compiled" if shared else None)
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


def _take_flag(argv: list[str], name: str) -> tuple[list[str], str | None]:
    """``argv`` without ``--NAME=VALUE`` or ``--NAME VALUE``, and the value; None without it."""
    for i, item in enumerate(argv):
        flag, equals, value = item.partition("=")
        if flag != f"--{name}":
            continue
        end = i + 1 if equals else i + 2
        value = value if equals else "".join(argv[i + 1 : end])
        if not value or value.startswith("--"):
            raise InvalidConfig(f"--{name} needs a value: --{name}=VALUE. See --help.")
        return argv[:i] + argv[end:], value
    return argv, None


if __name__ == "__main__":
    sys.exit(main())
