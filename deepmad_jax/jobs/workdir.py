"""The files that say what a workdir's run is, and the refusal to mix two runs in one.

A run goes on only with the design, recipe and data that its checkpoints were made with; nothing is
overwritten before that is known.
"""

import json
from pathlib import Path
from typing import Any

from deepmad_jax import config as config_module
from deepmad_jax.arch.reference import resolve
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.textfile import read_text
from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.paths import write_whole


def settle(config: Config, workdir: Path, architecture: Architecture) -> None:
    """Writes down what the workdir's run is: its architecture and its config."""
    _refuse_to_orphan_checkpoints(workdir, architecture)
    write(workdir / "architecture.json", architecture.to_json())
    write_config(config, workdir)


def write_config(config: Config, workdir: Path) -> None:
    """Writes ``config.json``, as JSON has it: lists for tuples, null for infinity."""
    write(workdir / "config.json", json.dumps(finite(config_module.to_dict(config)), indent=1))


def refuse_to_mix(
    config: Config, workdir: Path, names: tuple[str, ...] = ("design", "data", "train")
) -> None:
    """A run goes on only with the ``names`` of its config that its checkpoints were made with."""
    if not ((workdir / "config.json").exists() and holds_checkpoints(workdir)):
        return
    differing = differing_run(config, workdir, names)
    if differing:
        raise UserError(
            f"{workdir} holds a run with another config ({'; '.join(differing)}). Give the same "
            "values to go on with it, or choose another --workdir for a new run."
        )


def differing_run(config: Config, workdir: Path, names: tuple[str, ...]) -> list[str]:
    """The fields of ``names``, with both values, in which the workdir's run was made otherwise.

    Fields that change nothing in what a run computes are left out.
    """
    path = workdir / "config.json"
    old, new, default = read_json(path), _json_values(config), _json_values(Config())
    # A named architecture is what counts then, whatever the design's budgets say.
    names = tuple(name for name in names if not (name == "design" and config.architecture))
    # An older version may have written the config without fields that there are now.
    was = {name: {**default[name], **old.get(name, {})} for name in names}
    lines = config_module.differing_fields(was, {name: new[name] for name in names})
    return [line for line in lines if line.partition(":")[0] not in _MAY_CHANGE]


def architecture_of(config: Config, workdir: Path) -> Architecture:
    """The architecture that train, evaluate and describe work on.

    Raises:
        MissingData: none is named and the workdir holds none.
    """
    if config.architecture is not None:
        return resolve(config.architecture)
    path = workdir / "architecture.json"
    if not path.exists():
        raise MissingData(
            f"There is no architecture at {path}. Run the design job first "
            "(--config.jobs=design,train with the same workdir), or name a file or a published "
            "network with --config.architecture."
        )
    return Architecture.load(path)


def design_of(config: Config, workdir: Path) -> dict[str, Any]:
    """The contents of ``design.json``.

    Raises:
        UserError: it is not there, or of another problem than ``config.design``.
    """
    path = workdir / "design.json"
    numbers: dict[str, Any] = read_json(path)
    differing = differing_design(config, workdir)
    if differing:
        raise UserError(
            f"{path} is a design of another problem ({'; '.join(differing)}): give the same values "
            f"to go on with it, or run the design job with this config first "
            f"(--config.jobs=design,{','.join(config.jobs)})."
        )
    return numbers


def holds_checkpoints(workdir: Path) -> bool:
    """Whether a run has left any there: its architecture may then not change."""
    checkpoints = workdir / "checkpoints"
    return checkpoints.exists() and any(checkpoints.iterdir())


def is_first() -> bool:
    """Whether this process writes the workdir's files: one of several does."""
    import jax

    return jax.process_index() == 0


def differing_design(config: Config, workdir: Path) -> list[str]:
    """The fields, with both values, in which ``config.design`` is not what was designed there.

    The seed is left out: a bound holds for every design of the space.
    """
    old = {**_json_values(Config())["design"], **read_json(workdir / "config.json")["design"]}
    new = _json_values(config)["design"] | {"seed": old["seed"]}
    return config_module.differing_fields(old, new, "design.")


_MAY_CHANGE = (
    "data.corrupt_share",
    "data.data_dir",
    "data.eval_px",
    "data.unlabelled",
    "data.workers",
    "detect.export_nms",
    "detect.export_size",
    "detect.images",
    "detect.score",
    "train.eval_batch_size",
    "train.log_every_steps",
    "train.eval_every_epochs",
    "train.keep_checkpoints",
    "train.remat",
    "train.fsdp",
    "train.prefetch",
    "train.wandb_project",
    "segment.export_size",
    "segment.images",
    "segment.overlays",
    "video.missing_share",
    "video.videos",
)
"""Fields that change nothing in what a run computes, but for rounding."""


def _refuse_to_orphan_checkpoints(workdir: Path, architecture: Architecture) -> None:
    """A new design in place of the one that checkpoints belong to would make them useless."""
    path = workdir / "architecture.json"
    if not (path.exists() and holds_checkpoints(workdir)):
        return
    if Architecture.load(path) != architecture:
        raise UserError(
            f"{workdir} holds checkpoints of another architecture than this one. To go on with the "
            "old one leave the design job out (--config.jobs=train,evaluate); for the new one "
            "choose another --workdir. Nothing was overwritten."
        )


def _json_values(config: Config) -> Any:
    """The config as reading ``config.json`` gives it: lists and nulls."""
    return json.loads(json.dumps(finite(config_module.to_dict(config))))


def read_json(path: Path) -> Any:
    """The object in a JSON file of the workdir.

    Raises:
        UserError: it is not there, or broken.
    """
    try:
        found = json.loads(read_text(path))
        if isinstance(found, dict):
            return found
        reason = "it holds no JSON object"
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}. Run the design job first.") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).rstrip(".")
    raise UserError(
        f"Cannot read {path}: {reason}. Put a whole copy of it back, or remove it and give the "
        "command again."
    )


def write(path: Path, text: str) -> None:
    """`write_whole`, with a newline at the end."""
    write_whole(path, text if text.endswith("\n") else text + "\n")


def finite(value: Any) -> Any:
    """Infinite budgets as null: JSON has no infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if value == float("inf") else value
