"""Runs that have ended, among the workdirs of a folder: what they came to, or why none counts.

A run counts if it was made with the config that is asked for, whatever its seed, and has trained
all its epochs. Anything else is said, and is no result.
"""

import dataclasses
from pathlib import Path

from deepmad_jax.config import Config
from deepmad_jax.errors import UserError
from deepmad_jax.jobs.workdir import differing_run, read_json
from deepmad_jax.report.read import read_metrics

_MAY_DIFFER = (
    "train.seed",
    "train.pretrained",
    "detect.pretrained",
    "segment.pretrained",
    "video.pretrained",
)
"""Seeds are what a spread is over; where the weights lay that a run began with, says nothing."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What runs of one config came to.

    Attributes:
        values: a seed each, each seed once; empty where none has ended.
        why: where there is a workdir that does not count, the reason.
    """

    values: tuple[float, ...] = ()
    why: str = ""


def find(config: Config, results: Path) -> Found:
    """The last evaluations of the config's runs, as its task judges them: top-1, AP, mean IoU.

    Args:
        config: of one run.
        results: holds workdirs; those looked at are NAME and NAME_seedN.
    """
    from deepmad_jax.tasks import TASKS
    from deepmad_jax.train.logbook import last_line_of_the_run

    task = TASKS[config.task]
    values: dict[int, float] = {}
    why = ""
    for workdir in [results / config.name, *sorted(results.glob(f"{config.name}_seed*"))]:
        if not (workdir / "config.json").exists():
            continue
        reason = _why_not(config, workdir, task.parts)
        line = last_line_of_the_run(workdir)
        if not reason and line is not None and task.best_by in line:
            seed = read_json(workdir / "config.json")["train"]["seed"]
            values.setdefault(seed, float(line[task.best_by]))
        else:
            why = why or reason or "no evaluation"
    return Found(tuple(values.values()), "" if values else why)


def _why_not(config: Config, workdir: Path, parts: tuple[str, ...]) -> str:
    """Why a workdir's run does not count; empty where it does."""
    try:
        differing = differing_run(config, workdir, parts)
    except UserError:
        return "its config.json cannot be read"
    differing = [line for line in differing if line.partition(":")[0] not in _MAY_DIFFER]
    if read_json(workdir / "config.json").get("architecture") != config.architecture:
        return "another architecture"
    if differing:
        return f"another config: {differing[0]}" + (", ..." if len(differing) > 1 else "")
    epochs = config.train.epochs + config.train.cooldown_epochs
    lines = [line for line in read_metrics(workdir / "metrics.jsonl").train if line.get("epoch")]
    if not lines:
        return "nothing logged"
    last = lines[-1]
    # Steps are whole and epochs are not: both parts are rounded, by half a step each at most.
    step = last["epoch"] / last["step"]
    return "" if last["epoch"] + step >= epochs else f"{last['epoch']:.0f} of {epochs:g} epochs"
