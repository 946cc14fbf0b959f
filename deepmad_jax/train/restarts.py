"""A run that begins again and again without getting on, as a cluster would have it, ends."""

import json
from pathlib import Path

import jax

from deepmad_jax.errors import UserError
from deepmad_jax.paths import write_whole
from deepmad_jax.train.readable import everywhere

FILE_NAME = "starts.json"
"""In the workdir: the step that the run last began at, and how often it has."""


def count_start(workdir: Path, step: int, restarts: int | None) -> None:
    """Counts that a run begins at ``step``.

    Args:
        workdir: of the run; of several processes the first one writes there.
        step: of the checkpoint that it goes on from, or 0.
        restarts: how often it may begin there again; None: as often as it likes, uncounted.
    Raises:
        UserError: it has begun there as often as it may.
    """
    if restarts is None:
        return
    path = workdir / FILE_NAME
    starts = 1
    if jax.process_index() == 0:
        starts = _starts_at(path, step) + 1
        write_whole(path, json.dumps({"step": step, "starts": starts}) + "\n")
    if not everywhere(starts <= restarts + 1):
        raise UserError(
            f"The run in {workdir} has begun at step {step} {restarts + 1} times and never come to "
            "its next checkpoint: something ends it every time. Look for what its output says, "
            f"then remove {path} to begin again; --config.watch.restarts allows more."
        )


def _starts_at(path: Path, step: int) -> int:
    """As the file says; 0 where it is of another step, is not there or is broken."""
    try:
        found = json.loads(path.read_text())
        return int(found["starts"]) if found["step"] == step else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0
