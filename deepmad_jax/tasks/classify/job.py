"""The train and the evaluate job: data, network and engine joined.

What can be missing or unfit is looked at first: checkpoint, data, plan, batch sizes. Only then is a
network built and anything compiled.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.data import Dataset, eval_batches, open_dataset, train_batches
from deepmad_jax.errors import InvalidConfig, MissingData, did_you_mean
from deepmad_jax.nets import Network
from deepmad_jax.tasks.classify.functions import make_loss_fn, make_sums_fn, split_network
from deepmad_jax.train import (
    Checkpoints,
    Logbook,
    Plan,
    TrainState,
    check_batch_size,
    create_state,
    fit,
    make_eval_step,
    make_mesh,
    make_optimizer,
    make_schedule,
    make_train_step,
    padded_batch_size,
    record,
    replicate,
    sum_over_batches,
    variables_for_evaluation,
)
from deepmad_jax.train.step import EvalStep

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""What ``config.train.dtype`` may be."""


def train(config: Config, arch: Architecture, workdir: str | Path) -> TrainState:
    """Trains ``arch``, going on from the newest checkpoint in ``workdir``; returns the last state.

    Leaves ``checkpoints/``, ``metrics.jsonl`` and ``tensorboard/`` there.

    Raises:
        MissingData: the data set is not prepared.
        InvalidConfig: data that do not fit the network, a batch that does not fit the devices.
        Diverged: the loss is no longer finite.
    """
    workdir, settings = Path(workdir), config.train
    run = _Run.prepare(config, arch)
    batches = train_batches(
        run.dataset, config.data, batch_size=settings.batch_size, seed=settings.seed
    )
    graphdef, state = run.initial_state(arch)
    train_step = make_train_step(
        make_loss_fn(graphdef, run.dataset, config.data, settings.label_smoothing),
        run.optimizer,
        run.schedule,
        run.mesh,
        ema_decay=settings.ema_decay,
    )
    eval_step = make_eval_step(make_sums_fn(graphdef, run.dataset), run.mesh)
    stream = {
        "config.train.batch_size": settings.batch_size,
        "config.train.seed": settings.seed,
        "number of processes": jax.process_count(),
    }
    with (
        # Ends the worker processes, if there are any.
        contextlib.closing(batches),
        Checkpoints(workdir / "checkpoints", settings.keep_checkpoints, stream) as checkpoints,
    ):
        start = checkpoints.latest_step() or 0
        if start:
            state = checkpoints.restore(state, batches)
        with Logbook(workdir, resumed_step=start, total_steps=run.plan.total_steps) as logbook:
            logbook.say(_opening(arch, run, start))
            return fit(
                state,
                batches,
                train_step=train_step,
                evaluate=lambda state: _accuracies(run, eval_step, state),
                plan=run.plan,
                mesh=run.mesh,
                checkpoints=checkpoints,
                logbook=logbook,
            )


def evaluate(config: Config, arch: Architecture, workdir: str | Path) -> dict[str, Any]:
    """The accuracy of the newest checkpoint over all evaluation images.

    Also written to ``metrics.jsonl``, in place of the line of the same step if there is one.

    Returns:
        ``split`` ("eval"), ``step``, ``loss`` (nats, not smoothed), ``top1`` and ``top5`` (shares),
        ``images``.

    Raises:
        MissingData: no checkpoint there, or the data set is not prepared.
        InvalidConfig: data that do not fit the network.
    """
    directory = Path(workdir) / "checkpoints"
    # Looked for before it is opened: opening makes the directory.
    if not directory.is_dir():
        raise _no_checkpoint(directory)
    run = _Run.prepare(config, arch)
    with Checkpoints(directory, config.train.keep_checkpoints) as checkpoints:
        step = checkpoints.latest_step()
        if step is None:
            raise _no_checkpoint(directory)
        graphdef, state = run.initial_state(arch)
        state = checkpoints.restore(state)
    eval_step = make_eval_step(make_sums_fn(graphdef, run.dataset), run.mesh)
    line = {"split": "eval", "step": step, **_accuracies(run, eval_step, state)}
    record(workdir, line)
    return line


@dataclasses.dataclass(frozen=True)
class _Run:
    """What both jobs need and what is cheap: everything but the network and the compiled steps."""

    config: Config
    dataset: Dataset
    plan: Plan
    mesh: Mesh
    schedule: Any
    optimizer: Any

    @classmethod
    def prepare(cls, config: Config, arch: Architecture) -> "_Run":
        settings = config.train
        if settings.dtype not in DTYPES:
            raise InvalidConfig(
                f"config.train.dtype is {settings.dtype!r}; {did_you_mean(settings.dtype, DTYPES)}"
            )
        dataset = open_dataset(
            config.data,
            resolution_px=arch.resolution,
            channels=arch.in_channels,
            classes=arch.classes,
        )
        plan, mesh = Plan.of(settings, len(dataset.train)), make_mesh()
        check_batch_size(mesh, plan.batch_size)
        schedule = make_schedule(settings, plan)
        return cls(config, dataset, plan, mesh, schedule, make_optimizer(settings, schedule))

    def initial_state(self, arch: Architecture) -> tuple[nnx.GraphDef, TrainState]:
        settings = self.config.train
        net = Network(
            arch,
            rngs=nnx.Rngs(settings.seed),
            dtype=DTYPES[settings.dtype],
            batch_norm_momentum=settings.batch_norm_momentum,
            scan=settings.scan,
        )
        graphdef, params, batch_stats = split_network(net)
        averages = settings.ema_decay is not None
        state = create_state(params, batch_stats, self.optimizer, ema=averages)
        return graphdef, replicate(self.mesh, state)


def _accuracies(run: _Run, eval_step: EvalStep, state: TrainState) -> dict[str, float]:
    # A small data set needs no larger batch than itself.
    batch_size = min(run.config.train.eval_batch_size, len(run.dataset.evaluation))
    batches = eval_batches(
        run.dataset, run.config.data, batch_size=padded_batch_size(run.mesh, batch_size)
    )
    with contextlib.closing(batches):
        sums = sum_over_batches(eval_step, variables_for_evaluation(state), batches, run.mesh)
    images = round(sums.pop("images"))
    return {name: value / images for name, value in sums.items()} | {"images": images}


def _opening(arch: Architecture, run: _Run, start: int) -> str:
    plan, count = run.plan, len(run.dataset.train)
    begins = f"going on from step {start}" if start else "starting"
    return (
        f"training {arch.name} on {run.dataset.name} ({count:,} images), {begins}: "
        f"{plan.total_steps:,} steps of {plan.batch_size} images, {run.mesh.size} device(s)"
    )


def _no_checkpoint(directory: Path) -> MissingData:
    return MissingData(
        f"There is no checkpoint in {directory}: run the train job first (--config.jobs=train), or "
        "give the workdir of a run that has trained."
    )
