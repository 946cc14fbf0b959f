"""What a run left in its workdir, read leniently: only the architecture must be there.

A run may have been killed while it wrote, may have no design (a published network) or no training
yet. Whatever is missing is left out of the report; what cannot be read is counted and said.
"""

import dataclasses
import json
import math
from numbers import Real
from pathlib import Path
from typing import Any

from deepmad_jax.arch import Architecture
from deepmad_jax.arch.textfile import read_text
from deepmad_jax.errors import UserError

PREDICTIONS = "predictions"
"""Folder of a workdir for what the last evaluation found."""


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The lines of ``metrics.jsonl``, ordered by step; of a step logged twice, the later one.

    Attributes:
        train: loss, top1, learning_rate, ... every few steps.
        evaluation: top1, top5, images.
        unreadable: lines left out, for example the last one of a killed run.
    """

    train: tuple[dict[str, Any], ...] = ()
    evaluation: tuple[dict[str, Any], ...] = ()
    unreadable: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """A workdir's contents. ``design`` and ``config`` are None where there is no such file.

    ``pixels`` is what a segmenter's last evaluation found, empty where there was none.
    """

    arch: Architecture
    design: dict[str, Any] | None
    config: dict[str, Any] | None
    metrics: Metrics
    pixels: dict[str, Any] = dataclasses.field(default_factory=dict)


def read(workdir: Path) -> Run:
    """Everything the report shows.

    Raises:
        InvalidArchitecture: ``architecture.json`` is missing or broken.
        UserError: ``design.json`` or ``config.json`` is there but is not a JSON object.
    """
    arch = Architecture.load(workdir / "architecture.json")
    design = _read_object(workdir / "design.json")
    config = _read_object(workdir / "config.json")
    problem = (config or {}).get("design")
    if design is not None and isinstance(problem, dict):
        # The weights are the problem's; a design file need not repeat them.
        design.setdefault("alpha", problem.get("alpha"))
    return Run(arch, design, config, read_metrics(workdir / "metrics.jsonl"), read_pixels(workdir))


def read_metrics(path: Path) -> Metrics:
    """The metrics in a file of JSON lines; empty where there is no file.

    Raises:
        UserError: what is there cannot be opened.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        return Metrics()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Move it out of the way.") from error
    by_step: dict[str, dict[float, dict[str, Any]]] = {"train": {}, "eval": {}}
    unreadable = 0
    for line in filter(str.strip, lines):
        try:
            entry = json.loads(line)
            # A resumed run repeats the steps after its checkpoint: the later line replaces the
            # earlier one. A killed run leaves a broken line that need not be the last.
            by_step[entry["split"]][float(entry["step"])] = entry
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            unreadable += 1
    train, evaluation = (
        tuple(entries[step] for step in sorted(entries) if math.isfinite(step))
        for entries in by_step.values()
    )
    return Metrics(train, evaluation, unreadable)


def read_pixels(workdir: Path) -> dict[str, Any]:
    """The scores and confusions of the last evaluation; empty where there are none."""
    try:
        numbers = mapping(
            json.loads((workdir / PREDICTIONS / "segmentation.json").read_text(encoding="utf-8"))
        )
        names, table = numbers["names"], numbers["confusion"]
        count = len(names)
        whole = all(len(row) == count and all(int(x) >= 0 for x in row) for row in table)
        same = all(len(numbers[key]) == count for key in ("iou", "accuracy", "pixels"))
        return numbers if whole and same and len(table) == count else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def finite(value: Any) -> float | int | None:
    """The value where it is a finite number, else None: results may hold null, NaN or nothing.

    >>> finite(3), finite("3"), finite(float("nan")), finite(None), finite(True)
    (3, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None  # type: ignore[return-value]


def numbers(values: Any) -> list[float | int]:
    """A list of finite numbers, or the empty list where any entry is something else."""
    if not isinstance(values, list | tuple) or any(finite(value) is None for value in values):
        return []
    return list(values)


def mapping(values: Any) -> dict[str, Any]:
    """The value where it is a dict, else an empty one."""
    return values if isinstance(values, dict) else {}


def records(values: Any) -> list[dict[str, Any]]:
    """The dicts among the values of a list; none of anything else."""
    return (
        [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
    )


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}. Move it out of the way.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not JSON ({error}). Delete it to report without it, or run the job again."
        ) from error
    if not isinstance(value, dict):
        raise UserError(
            f"{path} must hold one JSON object. Delete it to report without it, or run the job "
            "again."
        )
    return value
