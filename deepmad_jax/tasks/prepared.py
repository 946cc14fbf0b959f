"""A task's data, devices and network, for whatever is to be done with them."""

import dataclasses
from pathlib import Path
from typing import Any

import optax
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData
from deepmad_jax.tasks.task import Named, Opened, Task, split_network
from deepmad_jax.train import TrainState, create_state, make_mesh, place


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What is cheap: everything but the network and the compiled steps."""

    task: Task
    config: Config
    arch: Named
    data: Opened
    mesh: Mesh

    @classmethod
    def of(cls, task: Task, config: Config, arch: Named) -> "Prepared":
        return cls(task, config, arch, task.open(config, arch), make_mesh(fsdp=config.train.fsdp))

    def initial_state(
        self, optimizer: optax.GradientTransformation, fresh: bool
    ) -> tuple[nnx.GraphDef, TrainState]:
        """The graph of the network and the state before the first step, on the devices."""
        net = self.task.build(self.arch, self.config, self.data, fresh)
        graphdef, params, batch_stats = split_network(net)
        averages = self.config.train.ema_decay is not None
        state = create_state(params, batch_stats, optimizer, ema=averages)
        return graphdef, place(self.mesh, state)


def identity(arch: Named) -> dict[str, Any]:
    """What tells one network from another, for checkpoints; not its name."""
    return {name: value for name, value in arch.to_dict().items() if name != "name"}


def no_checkpoint(directory: Path) -> MissingData:
    """The error to raise where a run has none."""
    return MissingData(
        f"There is no checkpoint in {directory}: run the train job first (--config.jobs=train), or "
        "give the workdir of a run that has trained."
    )
