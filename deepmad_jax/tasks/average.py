"""The mean of a run's last checkpoints: often a better network than the last one alone.

Parameters and BatchNorm statistics are averaged alike, each in float64; of a run that keeps moving
averages it is these that are averaged. Checkpoints that are far apart do not average well: their
statistics are then not those of the averaged parameters.

Source: Izmailov et al. 2018 (arXiv 1803.05407); averaging the checkpoints of one run is Vaswani et
al.'s (2017, arXiv 1706.03762, section 6.1).
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import optax

from deepmad_jax import trained
from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.errors import UserError
from deepmad_jax.interop import from_network
from deepmad_jax.interop.files import write_weights
from deepmad_jax.tasks.prepared import Prepared, identity, no_checkpoint
from deepmad_jax.tasks.task import Named, Task
from deepmad_jax.train import Checkpoints, place, record

Variables = dict[tuple[str, ...], np.ndarray]


def average(
    task: Task, config: Config, arch: Named, workdir: Path
) -> tuple[dict[str, Any], Variables]:
    """The numbers of the mean of the last ``config.average`` checkpoints, and the mean by path.

    The numbers are also written to ``metrics.jsonl``, as a line of split "average".

    Raises:
        MissingData: no checkpoint there, or the data set is not prepared.
        UserError: there are fewer checkpoints than are to be averaged, or one cannot be read.
    """
    directory = workdir / "checkpoints"
    if not directory.is_dir():
        raise no_checkpoint(directory)
    run = Prepared.of(task, config, arch)
    with Checkpoints(directory, network=identity(arch), read_only=True) as checkpoints:
        steps = checkpoints.steps()[-config.average :]
        if not steps:
            raise no_checkpoint(directory)
        if len(steps) < config.average:
            raise UserError(
                f"config.average is {config.average}, but {directory} holds {len(steps)} "
                "checkpoint(s): average fewer (--config.average), or train with a greater "
                "--config.train.keep_checkpoints."
            )
        variables = mean_of([checkpoints.restore_variables(step) for step in steps])
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, ema_decay=None))
    run = dataclasses.replace(run, config=config)
    graphdef, state = run.initial_state(optax.identity(), fresh=False)
    params, batch_stats = (_filled(tree, variables) for tree in (state.params, state.batch_stats))
    state = dataclasses.replace(
        state, params=place(run.mesh, params), batch_stats=place(run.mesh, batch_stats)
    )
    numbers = task.evaluator(graphdef, run.data, config, run.mesh, workdir)(state)
    line = {"split": "average", "step": steps[-1], "averaged_steps": list(steps), **numbers}
    record(workdir, line)
    return line, variables


def save(arch: Architecture, variables: Variables, path: Path) -> None:
    """Writes a mean as a file of weights, which the ending of ``path`` says the kind of."""
    net = trained.filled(arch, variables, path)
    write_weights(path, from_network(net), arch)


def mean_of(every: list[dict[tuple[str, ...], Any]]) -> Variables:
    """The mean of each array, in its own dtype; the sum is in float64.

    >>> mean_of([{("a",): np.float32([1, 2])}, {("a",): np.float32([3, 2])}])
    {('a',): array([2., 2.], dtype=float32)}
    """
    return {
        path: np.mean([np.asarray(v[path], np.float64) for v in every], axis=0).astype(
            np.asarray(first).dtype
        )
        for path, first in every[0].items()
    }


def _filled(tree: Any, variables: Variables, path: tuple[str, ...] = ()) -> Any:
    """The tree with the arrays of ``variables`` in place of its own."""
    if not isinstance(tree, dict):
        return variables[path]
    return {name: _filled(value, variables, (*path, str(name))) for name, value in tree.items()}
