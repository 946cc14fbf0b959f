"""Checkpoints by Orbax: train state, place in the data, identity and progress, by step.

Written in the background and put in place by a rename, so that a checkpoint is whole or not there.
The newest few stay, and the best one. One that is no longer what was written (cut short, half
deleted, one bit flipped: `checksums.py`) is set aside, and the one before it taken.

Keys of random numbers are not in it: they are made from the seed, which is part of the identity,
and the step.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from deepmad_jax.config import CHECKPOINTS as CHOICES
from deepmad_jax.errors import InvalidConfig, MissingData, UserError, did_you_mean
from deepmad_jax.paths import local
from deepmad_jax.train.checksums import first_fault, write_checksums
from deepmad_jax.train.identity import check_identity, check_shapes
from deepmad_jax.train.place import PlaceHandler, PlaceRestore, PlaceSave
from deepmad_jax.train.readable import newest_readable, set_aside
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
        stream: what the place of the iterator depends on, by name, such as the batch size: with
            another one the same place would mean other images.
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
        self.directory = local(directory).resolve()
        options = ocp.CheckpointManagerOptions(
            # Not Orbax's own read_only: it warns each time.
            create=not read_only,
            # What a killed run was writing.
            cleanup_tmp_directories=not read_only,
            preservation_policy=self._policy,
            # While the checkpoint still has its temporary name.
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_checksums),
        )
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "data": PlaceHandler(),
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

    def steps(self) -> list[int]:
        """The steps of all checkpoints, the newest last."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step of the best checkpoint by the run's evaluations, or None where there is none.

        A checkpoint counts as evaluated where the loop evaluated and saved at the same step.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        wanted = ocp.args.Composite(progress=ocp.args.JsonRestore())
        for step in steps:
            # The newest may be broken; the one before knows the best until then.
            if first_fault(self.directory / str(step)) is not None:
                continue
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
                    data=PlaceSave(place),
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
        newest = self._newest(lambda step: self._restore(step, like, batches), only)
        if newest is None:
            return None
        found, notes = newest
        if notes and not self._read_only:
            steps = self._manager.all_steps()
            set_aside(self.directory, [step for step in steps if step > found.step])
            self._manager.reload()
        return dataclasses.replace(found, notes=notes)

    def _newest(
        self, read: Callable[[int], Any], only: int | None, alone: bool = False
    ) -> tuple[Any, tuple[str, ...]] | None:
        steps = sorted(self._manager.all_steps(), reverse=True) if only is None else [only]
        asked = only is not None
        return newest_readable(self.directory, steps, read, asked=asked, alone=alone)

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
        where = f"The checkpoint of step {step} in {self.directory}"
        check_identity(where, described.identity, self._identity, "network")
        check_shapes(where, self._manager.item_metadata(step)["state"].tree, like)
        items: dict[str, Any] = {"state": ocp.args.StandardRestore(_abstract(like))}
        if batches is not None:
            check_identity(where, described.identity, self._identity, "stream")
            items["data"] = PlaceRestore(batches)
        state: TrainState = self._manager.restore(step, args=ocp.args.Composite(**items)).state
        return Restored(step, state, described.progress, ())

    def restore_variables(self, step: int | None = None) -> dict[tuple[str, ...], jax.Array]:
        """Params and BatchNorm statistics of a state by path: the averages where kept.

        On one device, whatever the run had; neither its network nor its optimiser is needed.

        Args:
            step: of the checkpoint; None is the newest that can be read, with a warning for each
                newer one.

        Raises:
            MissingData: there is no checkpoint.
            UserError: none can be read, or not the one that was asked for.
        """
        newest = self._newest(self._restore_variables, step, alone=True)
        if newest is None:
            raise MissingData(f"There is no checkpoint in {self.directory}.")
        variables, notes = newest
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return variables

    def _restore_variables(self, step: int) -> dict[tuple[str, ...], jax.Array]:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
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

    def _write_checksums(self) -> None:
        if jax.process_index() == 0:
            # Orbax does not say which it is, but only one is written at a time.
            for path in self.directory.glob("*.orbax-checkpoint-tmp*"):
                write_checksums(path)

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


def _abstract(state: TrainState) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
