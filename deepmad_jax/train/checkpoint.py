"""Checkpoints by Orbax: the train state and the place of the data iterator, by step.

Written in the background and put in place by a rename, so that a checkpoint is whole or not there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from deepmad_jax.errors import MissingData, UserError
from deepmad_jax.train.state import TrainState


class Checkpoints:
    """The checkpoints of one run. Use as a context manager: leaving it waits for the last one.

    Args:
        directory: of the checkpoints; made on the first save.
        keep: how many of the latest stay.
        stream: what the place of the iterator depends on, by name, such as the number of workers.
            Grain takes a place from another number of workers, and gives other images.
    """

    def __init__(
        self, directory: str | Path, keep: int = 1, stream: Mapping[str, int] | None = None
    ):
        self._stream = dict(stream or {})
        self.directory = Path(directory).resolve()
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "data": grain.checkpoint.CheckpointHandler(),
            "stream": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            self.directory, options=options, item_handlers=handlers
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, or None where there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, batches: grain.DatasetIterator, step: int) -> None:
        """Saves the state after ``step`` steps and the iterator that has given their batches."""
        # The state is copied before this returns, so the next step may reuse its memory.
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=grain.checkpoint.CheckpointSave(batches),
                stream=ocp.args.JsonSave(self._stream),
            ),
        )

    def restore(self, like: TrainState, batches: grain.DatasetIterator | None = None) -> TrainState:
        """The newest state; moves ``batches`` to its place in the data.

        Args:
            like: a state of the same structure, shapes and shardings; its values are not read.
            batches: the iterator to move, where training goes on.

        Raises:
            UserError: the checkpoint is of another network, has averages where this run has none or
                none where it has some, or is of another stream of batches.
        """
        step = self.latest_step()
        assert step is not None, "ask latest_step first"
        self._check_state(step, like)
        items: dict[str, Any] = {"state": ocp.args.StandardRestore(_abstract(like))}
        if batches is not None:
            self._check_stream(step)
            items["data"] = grain.checkpoint.CheckpointRestore(batches)
        state: TrainState = self._manager.restore(step, args=ocp.args.Composite(**items)).state
        return state

    def restore_variables(self) -> dict[tuple[str, ...], jax.Array]:
        """Params and BatchNorm statistics of the newest state by path: the averages where kept.

        On one device, whatever the run had; neither its network nor its optimiser is needed.

        Raises:
            MissingData: there is no checkpoint.
        """
        step = self.latest_step()
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
        # Beforehand, by the description: a restore that fails half-way leaves Orbax's threads
        # behind, and its error names no array.
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

    def _check_stream(self, step: int) -> None:
        items = ocp.args.Composite(stream=ocp.args.JsonRestore())
        saved = self._manager.restore(step, args=items).stream
        for name, value in self._stream.items():
            if saved.get(name) != value:
                raise UserError(
                    f"The checkpoint of step {step} in {self.directory} was made with "
                    f"{name}={saved.get(name)}, not {value}, so its place in the data would mean "
                    f"other images. Go on with {saved.get(name)}, or choose another workdir."
                )


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
