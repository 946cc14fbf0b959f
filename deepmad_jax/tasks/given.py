"""Evaluation of weights that lie elsewhere: a run's folder, a file, or the address of one."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import optax

from deepmad_jax import trained
from deepmad_jax.arch.reference import resolve
from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData
from deepmad_jax.fetched import fetched
from deepmad_jax.nets import Network
from deepmad_jax.tasks.prepared import Prepared
from deepmad_jax.tasks.task import Task, split_network
from deepmad_jax.train import create_state, place


def evaluate_given(task: Task, config: Config, workdir: Path) -> dict[str, Any]:
    """The numbers of the weights that ``config.weights`` names, on the config's data.

    Args:
        task: classification.
        config: ``checkpoint`` picks one of a run's; ``architecture`` says what a file of weights is
            of that does not say so itself.
        workdir: of this job; what there is to see beyond numbers goes there.
    Raises:
        MissingData: no weights there, or the data set is not prepared.
        UserError: weights that cannot be read, or of another architecture.
        InvalidConfig: data that do not fit the network.
    """
    net = _network(config)
    run = Prepared.of(task, config, net.arch)
    graphdef, params, batch_stats = split_network(net)
    state = place(run.mesh, create_state(params, batch_stats, optax.identity(), ema=False))
    numbers = task.evaluator(graphdef, run.data, config, run.mesh, workdir)(state)
    return {"split": "given", "weights": config.weights, "step": 0, **numbers}


def _network(config: Config) -> Network:
    assert config.weights is not None
    path = fetched(config.weights)
    arch = resolve(config.architecture) if config.architecture else None
    if trained.is_file_of_weights(path):
        return trained.from_weights(path, arch, jnp.float32, None)
    net = trained.from_workdir(path, arch, jnp.float32, config.checkpoint)
    if net is None:
        raise MissingData(
            f"config.weights is {config.weights}, a run that has no checkpoint yet: train it first."
        )
    return net
