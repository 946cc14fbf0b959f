"""What a task gives to the runner, and so all that the runner knows of it.

A task joins a kind of data, a network and what is learned: classification, detection, .... `run`
trains and evaluates any of them; `tasks.TASKS` is the table that ``config.task`` picks from.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import grain
import jax
import optax
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.config import Config
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.train.gradients import Batch
from deepmad_jax.train.look import Maps
from deepmad_jax.train.plan import Plan
from deepmad_jax.train.state import TrainState
from deepmad_jax.train.step import LossFn


class Named(Protocol):
    """What the runner asks of an architecture."""

    @property
    def name(self) -> str: ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values that tell one network from another."""
        ...


class Opened(Protocol):
    """Opened data: nothing large has been read yet.

    Attributes:
        name: of the data set, for messages.
        num_train: training samples of an epoch.
        forms: shapes that training batches come in; the step is compiled for each.
        samples: what they are called, for messages.
    """

    name: str

    @property
    def num_train(self) -> int: ...

    @property
    def forms(self) -> int: ...

    @property
    def samples(self) -> str: ...

    def train_batches(self, config: Config) -> grain.DatasetIterator:
        """Endless batches of this process."""
        ...


class Task(Protocol):
    """One kind of learning.

    Attributes:
        architecture_file: where a workdir keeps what the network is.
        parts: groups of the config that a run's checkpoints were made with, see `jobs.workdir`.
        best_by: the number of an evaluation that says which checkpoint is best; larger is better.
    """

    architecture_file: str
    parts: tuple[str, ...]
    best_by: str

    def load(self, path: Path) -> Named:
        """The architecture in a file of the name ``architecture_file``."""
        ...

    def open(self, config: Config, arch: Named) -> Opened:
        """The data that ``arch`` is to learn.

        Raises:
            MissingData: they are not there.
            InvalidConfig: they do not fit the network.
        """
        ...

    def build(self, arch: Named, config: Config, data: Opened, fresh: bool) -> nnx.Module:
        """The network before the first step.

        Args:
            arch, config, data: what it is made of, how, and for what.
            fresh: its weights will be used; otherwise a checkpoint's take their place, and nothing
                need be read for them.
        """
        ...

    def optimizer(
        self, config: Config, plan: Plan
    ) -> tuple[optax.GradientTransformation, optax.Schedule]:
        """What makes a step of a gradient, and its rate as a function of the steps done before."""
        ...

    def loss_fn(self, graphdef: nnx.GraphDef, data: Opened, config: Config) -> LossFn:
        """What is minimised."""
        ...

    def evaluator(
        self, graphdef: nnx.GraphDef, data: Opened, config: Config, mesh: Mesh, workdir: Path
    ) -> Callable[[TrainState], dict[str, Any]]:
        """Gives the numbers of an evaluation line, over all evaluation samples.

        To be made once: it holds what was compiled. What there is to see beyond numbers, such as
        the predictions, it leaves in ``workdir``.
        """
        ...

    def seen(self, data: Opened, config: Config) -> Callable[[Batch], jax.Array]:
        """Gives the images of a training batch as the network sees them, values in [0, 1].

        Mixed and erased where the config says so, as if the batch were worked on at once.
        """
        ...

    def maps(self, graphdef: nnx.GraphDef, data: Opened, config: Config) -> Maps | None:
        """Gives the activation maps of a training batch, or None where there are none to show."""
        ...

    def macs(self, arch: Named, config: Config) -> float | None:
        """Multiply-accumulates of the network for one training image, for the log's ``mfu``.

        None where they depend on more than the architecture, such as images that grow.
        """
        ...

    def summary(self, line: dict[str, Any]) -> str:
        """An evaluation line in words."""
        ...


def split_network(net: nnx.Module) -> tuple[nnx.GraphDef, Any, Any]:
    """The graph of a network, its params and its BatchNorm statistics as nested dicts of arrays."""
    graphdef, params, batch_stats = nnx.split(net, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)


def refuse_clips(arch: Any) -> None:
    """Raises `InvalidConfig` where a network is of clips, for tasks that show it images."""
    frames = getattr(arch, "frames", 0)
    if frames:
        raise InvalidConfig(
            f"{arch.name} is of clips of {frames} frames, but this task has images: set "
            "config.design.frames to 0, or train it on videos with config.task=video."
        )
