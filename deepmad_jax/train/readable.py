"""The newest checkpoint that can be read, whatever befell those after it."""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from deepmad_jax.errors import UserError
from deepmad_jax.train.checksums import first_fault

_Found = TypeVar("_Found")


def newest_readable(
    directory: Path,
    steps: Sequence[int],
    read: Callable[[int], _Found],
    *,
    asked: bool = False,
    alone: bool = False,
) -> tuple[_Found, tuple[str, ...]] | None:
    """What ``read`` gives of the first of ``steps`` that it can read, and a note for each before.

    Args:
        directory: has a folder for each step.
        steps: the newest first.
        read: raises anything but a `UserError`, which is passed on, for a broken checkpoint.
        asked: the one step is the one that was asked for.
        alone: the other processes do not ask too.

    Returns:
        None where there are no steps.

    Raises:
        UserError: none can be read.
    """
    notes: list[str] = []
    for step in steps:
        found, reason = _try(directory, step, read, alone)
        if found is not None:
            return found, tuple(notes)
        if asked:
            raise UserError(
                f"The best checkpoint in {directory}, of step {step}, cannot be read ({reason}). "
                "Give back its files, or take the newest that can be read: "
                "--config.checkpoint=newest."
            )
        notes.append(
            f"The checkpoint of step {step} in {directory} cannot be read ({reason}); taking the "
            "one before it."
        )
    if steps:
        raise UserError(
            f"None of the checkpoints in {directory} can be read: {' '.join(notes)} There is none "
            "before. Give back the files, or remove that folder to start over."
        )
    return None


def set_aside(directory: Path, steps: Sequence[int]) -> None:
    """Renames the folders of steps, out of the way of checkpoints that will be written for them."""
    if jax.process_index() == 0:
        for step in steps:
            path = directory / str(step)
            names = itertools.chain(
                (f"unreadable-{step}",), (f"unreadable-{step}-{i}" for i in itertools.count(2))
            )
            with contextlib.suppress(OSError):
                path.rename(next(p for p in map(path.with_name, names) if not p.exists()))
    everywhere(True)


def everywhere(here: bool, alone: bool = False) -> bool:
    """Whether it is so in every process; unless ``alone``, all of them wait for each other."""
    if alone or jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(np.array(here)).all())


def _try(
    directory: Path, step: int, read: Callable[[int], _Found], alone: bool
) -> tuple[_Found | None, str]:
    """What ``read`` gives, or None and why not; whether it gives it is the same everywhere."""
    fault = None
    # Before anything is read: what Orbax makes of a broken file may be silence, and its threads
    # outlive their errors. One process reads the files of all.
    if jax.process_index() == 0:
        fault = first_fault(directory / str(step))
    if not everywhere(fault is None, alone):
        return None, fault or "as the first process says"
    found, reason = None, "as another process says"
    try:
        found = read(step)
    except UserError:
        raise
    except Exception as error:  # whatever the layers below raise for a broken file
        line = (str(error).splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {line[:200]}"
    return (found, "") if everywhere(found is not None, alone) else (None, reason)
