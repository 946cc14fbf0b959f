"""Checkpoints by Orbax: train state, place in the data, identity and progress, by step.

Written in the background and put in place by a rename, so that a checkpoint is whole or not there.
The newest few stay, and the best one. One that cannot be read any more (cut short, half deleted) is
set aside, and the one before it taken.

Keys of random numbers are not in it: they are made from the seed, which is part of the identity,
and the step.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from deepmad_jax.config import CHECKPOINTS as CHOICES
from deepmad_jax.errors import InvalidConfig, MissingData, UserError, did_you_mean
from deepmad_jax.train.state import TrainState


class CheckpointFailed(UserError, OSError):
    """A checkpoint could not be written, for example because the disk is full."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint held.

    Attributes:
        step: of the checkpoint.
        state: after that step.
        progress: what the loop handed to `Checkpoints.save`.
        notes: a sentence for each newer checkpoint that could not be read.
    """

    step: int
    state: TrainState
    progress: dict[str, Any]
    notes: tuple[str, ...]


class Checkpoints:
    """The checkpoints of one run. Use as a context manager: leaving it waits for the last one.

    Args:
        directory: of the checkpoints; made on opening, unless ``read_only``.
        keep: how many of the latest stay; the best one stays besides.
        network: what the state is of, as plain JSON values, such as the architecture.
        stream: what the place of the iterator depends on, by name, such as the number of workers.
            Grain takes a place from another number of workers, and gives other images.
        read_only: nothing is saved, set aside or cleaned up: another process may be writing.
    """

    def __init__(
        self,
        directory: str | Path,
        keep: int = 1,
        *,
        network: Mapping[str, Any] | None = None,
        stream: Mapping[str, int] | None = None,
        read_only: bool = False,
    ):
        self._identity = {"network": dict(network or {}), "stream": dict(stream or {})}
        self._read_only = read_only
        self._policy = _LatestAndBest(keep)
        self._saving: int | None = None
        self.directory = Path(directory).resolve()
        options = ocp.CheckpointManagerOptions(
            # Not Orbax's own read_only: it warns each time.
            create=not read_only,
            # What a killed run was writing.
            cleanup_tmp_directories=not read_only,
            preservation_policy=self._policy,
        )
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "data": grain.checkpoint.CheckpointHandler(),
            "identity": ocp.JsonCheckpointHandler(),
            "progress": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            self.directory, options=options, item_handlers=handlers
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self._manager.close()
        except Exception as error:
            # The first error is the one to show.
            if kind is None:
                raise self._failure(error) from error

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, or None where there is none."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step of the best checkpoint by the run's evaluations, or None where there is none.

        A checkpoint counts as evaluated where the loop evaluated and saved at the same step.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        wanted = ocp.args.Composite(progress=ocp.args.JsonRestore())
        for step in steps:
            # The newest may be broken; the one before knows the best until then.
            with contextlib.suppress(Exception):
                progress = self._manager.restore(step, args=wanted).progress
                best = progress.get("best", {}).get("saved_step")
                return best if best in steps else None
        return None

    def chosen_step(self, choice: str) -> int | None:
        """The step of the checkpoint that a choice means; None where there is none at all.

        Args:
            choice: ``newest`` or ``best``; without an evaluated checkpoint the best is the newest.

        Raises:
            InvalidConfig: another word.
        """
        if choice not in CHOICES:
            raise InvalidConfig(f"checkpoint is {choice!r}; {did_you_mean(choice, CHOICES)}")
        best = self.best_step() if choice == "best" else None
        return self.latest_step() if best is None else best

    def save(
        self,
        state: TrainState,
        place: Any,
        step: int,
        progress: Mapping[str, Any] | None = None,
        best_step: int | None = None,
    ) -> None:
        """Starts to save the state after ``step`` steps.

        Args:
            state: copied before this returns, so the next step may reuse its memory.
            place: has ``get_state``, the place of the iterator that gave their batches.
            step: of the checkpoint.
            progress: plain JSON values to get back on `restore`.
            best_step: a step whose checkpoint stays though it is old.

        Raises:
            CheckpointFailed: this one or the one before could not be written.
        """
        self.check()
        self._policy.best_step = best_step
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=grain.checkpoint.CheckpointSave(place),
                    identity=ocp.args.JsonSave(self._identity),
                    progress=ocp.args.JsonSave(dict(progress or {})),
                ),
            )
        except Exception as error:
            raise self._failure(error) from error
        self._saving = step

    def check(self) -> None:
        """Raises `CheckpointFailed` where a save in the background has failed."""
        try:
            self._manager.check_for_errors()
        except Exception as error:
            raise self._failure(error) from error

    def restore(
        self,
        like: TrainState,
        batches: grain.DatasetIterator | None = None,
        only: int | None = None,
    ) -> Restored | None:
        """The newest checkpoint that can be read, or None where there is none at all.

        Args:
            like: a state of the same structure, shapes and shardings; its values are not read.
            batches: the iterator to move to its place, where training goes on.
            only: the step of the one that is wanted instead.

        Raises:
            UserError: the checkpoint is of another network, has averages where this run has none or
                none where it has some, or is of another stream of batches; or none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True) if only is None else [only]
        notes: list[str] = []
        for step in steps:
            found, error = None, None
            try:
                found = self._restore(step, like, batches)
            except UserError:
                raise
            except Exception as caught:  # whatever the layers below raise for a broken file
                error = caught
            if _everywhere(found is not None):
                assert found is not None
                self._set_aside([s for s in steps if s > step])
                return dataclasses.replace(found, notes=tuple(notes))
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if error else ""
            if only is not None:
                raise UserError(
                    f"The best checkpoint in {self.directory}, of step {only}, cannot be read "
                    f"({reason}). Give back its files, or take the newest: "
                    "--config.checkpoint=newest."
                ) from error
            notes.append(
                f"The checkpoint of step {step} in {self.directory} cannot be read ({reason}); "
                "taking the one before it."
            )
        if steps:
            raise UserError(
                f"None of the checkpoints in {self.directory} can be read: {' '.join(notes)} There "
                "is none before. Give back the files, or remove that folder to start over."
            )
        return None

    def _restore(
        self, step: int, like: TrainState, batches: grain.DatasetIterator | None
    ) -> Restored:
        # Beforehand, by the descriptions: a restore that fails half-way leaves Orbax's threads
        # behind, and its error names no array.
        described = self._manager.restore(
            step,
            args=ocp.args.Composite(
                identity=ocp.args.JsonRestore(), progress=ocp.args.JsonRestore()
            ),
        )
        self._check_identity(step, described.identity, "network")
        self._check_state(step, like)
        items: dict[str, Any] = {"state": ocp.args.StandardRestore(_abstract(like))}
        if batches is not None:
            self._check_identity(step, described.identity, "stream")
            items["data"] = grain.checkpoint.CheckpointRestore(batches)
        state: TrainState = self._manager.restore(step, args=ocp.args.Composite(**items)).state
        return Restored(step, state, described.progress, ())

    def restore_variables(self, step: int | None = None) -> dict[tuple[str, ...], jax.Array]:
        """Params and BatchNorm statistics of a state by path: the averages where kept.

        On one device, whatever the run had; neither its network nor its optimiser is needed.

        Args:
            step: of the checkpoint; None is the newest.

        Raises:
            MissingData: there is no checkpoint.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise MissingData(f"There is no checkpoint in {self.directory}.")
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            self._manager.item_metadata(step)["state"].tree,
        )
        items = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        state = self._manager.restore(step, args=items).state
        variables = {}
        for tree in state["ema"] or (state["params"], state["batch_stats"]):
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
                variables[tuple(str(key.key) for key in path)] = leaf
        return variables

    def _check_state(self, step: int, like: TrainState) -> None:
        saved = _shapes(self._manager.item_metadata(step)["state"].tree)
        wanted = _shapes(like)
        for name in sorted(saved.keys() | wanted.keys()):
            if saved.get(name) != wanted.get(name):
                raise UserError(
                    f"The checkpoint of step {step} in {self.directory} is of another "
                    f"architecture, or was made with another ema_decay: {name} has shape "
                    f"{saved.get(name)} there and {wanted.get(name)} here (None: not there). Give "
                    "back what it was trained with, or choose another workdir."
                )

    def _check_identity(self, step: int, identity: Mapping[str, Any], part: str) -> None:
        saved, wanted = _flat(identity[part]), _flat(self._identity[part])
        differing = [name for name in wanted if name not in saved or saved[name] != wanted[name]]
        differing += [name for name in saved if name not in wanted] if part == "network" else []
        if not wanted or not differing:
            return
        was = ", ".join(f"{name}={saved.get(name)}, not {wanted.get(name)}" for name in differing)
        why = {
            "network": "so it is of another architecture",
            "stream": "so its place in the data would mean other images",
        }
        raise UserError(
            f"The checkpoint of step {step} in {self.directory} was made with {was}, {why[part]}. "
            "Give back those values to go on, or choose another workdir."
        )

    def _set_aside(self, steps: Sequence[int]) -> None:
        # Out of the way of the checkpoints that will be written for these steps again.
        if self._read_only or not steps:
            return
        if jax.process_index() == 0:
            for step in steps:
                with contextlib.suppress(OSError):
                    (self.directory / str(step)).rename(self.directory / f"unreadable-{step}")
        _everywhere(True)
        self._manager.reload()

    def _failure(self, error: Exception) -> CheckpointFailed:
        left = [step for step in self._manager.all_steps(read=True) if step != self._saving]
        good = f"that of step {max(left)} is intact" if left else "there is none yet"
        return CheckpointFailed(
            f"A checkpoint could not be written to {self.directory}: {error}\nTraining stops here. "
            f"Of the older checkpoints, {good}. Make room on the disk, and give the same command "
            "to go on from there."
        )


class _LatestAndBest:
    """Orbax's preservation policy: the last ``keep``, and ``best_step``."""

    def __init__(self, keep: int):
        self.keep = keep
        self.best_step: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        first_kept = len(checkpoints) - self.keep
        return [i >= first_kept or c.step == self.best_step for i, c in enumerate(checkpoints)]


def _everywhere(here: bool) -> bool:
    """Whether it is so in every process; all of them wait for each other."""
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(np.array(here)).all())


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict with dotted names."""
    if isinstance(values, Mapping):
        items: Any = values.items()
    elif isinstance(values, list | tuple):
        items = enumerate(values)
    else:
        return {name: values}
    flat = {}
    for key, value in items:
        flat |= _flat(value, f"{name}.{key}" if name else str(key))
    return flat


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
        for path, leaf in flat
    }


def _abstract(state: TrainState) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
