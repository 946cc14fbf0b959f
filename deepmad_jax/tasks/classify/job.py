"""The train and the evaluate job: data, network and engine joined.

What can be missing or unfit is looked at first: checkpoint, data, plan, batch sizes. Only then is a
network built and anything compiled.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config, TrainConfig
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
    place,
    record,
    state_sharding,
    sum_over_batches,
    variables_for_evaluation,
)
from deepmad_jax.train.step import EvalStep

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""What ``config.train.dtype`` may be."""


class OnImages(Protocol):
    """What the job asks of an architecture."""

    @property
    def name(self) -> str: ...
    @property
    def resolution(self) -> int: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def classes(self) -> int: ...
    def to_dict(self) -> dict[str, Any]: ...


Build = Callable[[Any, TrainConfig], nnx.Module]
"""The network of an architecture."""


def train(
    config: Config, arch: OnImages, workdir: str | Path, build: Build | None = None
) -> TrainState:
    """Trains ``arch``, going on from the newest checkpoint in ``workdir``; returns the last state.

    ``build`` makes the network of ``arch`` and ``config.train``; default `make_network`.

    Leaves ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/`` and, where the config asks for one,
    ``profile/`` there.

    Raises:
        MissingData: the data set is not prepared.
        InvalidConfig: data that do not fit the network, a batch that does not fit the devices.
        Diverged: the loss is no longer finite.
        CheckpointFailed: the disk is full, or the like.
    """
    workdir, settings = Path(workdir), config.train
    run = _Run.prepare(config, arch, build or make_network)
    plan = Plan.of(settings, len(run.dataset.train))
    check_batch_size(run.mesh, plan.batch_size, settings.accumulate_steps)
    schedule = make_schedule(settings, plan)
    optimizer = make_optimizer(settings, schedule)
    batches = train_batches(
        run.dataset, config.data, batch_size=settings.batch_size, seed=settings.seed
    )
    graphdef, state = run.initial_state(optimizer)
    train_step = make_train_step(
        make_loss_fn(graphdef, run.dataset, config.data, settings.label_smoothing),
        optimizer,
        schedule,
        run.mesh,
        ema_decay=settings.ema_decay,
        accumulate=settings.accumulate_steps,
        batch_norm_groups=settings.batch_norm_groups,
        seed=settings.seed,
        state_sharding=state_sharding(run.mesh, state),
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
        Checkpoints(
            workdir / "checkpoints",
            settings.keep_checkpoints,
            network=_network(arch),
            stream=stream,
        ) as checkpoints,
    ):
        found = checkpoints.restore(state, batches)
        start = found.step if found else 0
        with Logbook(
            workdir,
            resumed_step=start,
            total_steps=plan.total_steps,
            wandb_project=settings.wandb_project,
            name=config.name,
        ) as logbook:
            for note in found.notes if found else ():
                logbook.say(note)
            logbook.say(_opening(run, plan, start))
            state = found.state if found else state
            # Not held while it trains: the loop donates the state.
            progress, found = (found.progress if found else {}), None
            return fit(
                state,
                batches,
                train_step=train_step,
                evaluate=lambda state: _accuracies(run, eval_step, state),
                plan=plan,
                mesh=run.mesh,
                checkpoints=checkpoints,
                logbook=logbook,
                progress=progress,
                prefetch=settings.prefetch,
                profile_dir=workdir / "profile" if config.profile else None,
            )


def evaluate(config: Config, arch: Architecture, workdir: str | Path) -> dict[str, Any]:
    """The accuracy of a checkpoint, which ``config.checkpoint`` says, over all evaluation images.

    Also written to ``metrics.jsonl``, unless a line of that step says the same already.

    Returns:
        ``split`` ("eval"), ``step``, ``dataset``, ``loss`` (nats, not smoothed), ``top1`` and
        ``top5`` (shares), ``images``.

    Raises:
        MissingData: no checkpoint there, or the data set is not prepared.
        InvalidConfig: data that do not fit the network.
    """
    directory = Path(workdir) / "checkpoints"
    if not directory.is_dir():
        raise _no_checkpoint(directory)
    run = _Run.prepare(config, arch, make_network)
    network = _network(arch)
    with Checkpoints(directory, network=network, read_only=True) as checkpoints:
        chosen = checkpoints.chosen_step(config.checkpoint)
        if chosen is None:
            raise _no_checkpoint(directory)
        # Of the state only what is evaluated matters, so any schedule will do.
        optimizer = make_optimizer(config.train, optax.constant_schedule(0.0))
        graphdef, state = run.initial_state(optimizer)
        # The newest gives way to the one before where it is broken.
        found = checkpoints.restore(state, only=chosen if config.checkpoint == "best" else None)
        assert found is not None
    for note in found.notes:
        print(note, flush=True)
    eval_step = make_eval_step(make_sums_fn(graphdef, run.dataset), run.mesh)
    line = {"split": "eval", "step": found.step, **_accuracies(run, eval_step, found.state)}
    record(workdir, line)
    return line


def make_network(
    arch: Architecture, settings: TrainConfig, *, cpu_convs: bool | None = None
) -> Network:
    """The network as both jobs run it on the device at hand.

    Args:
        arch: what to build.
        settings: ``config.train``.
        cpu_convs: as `Network` has it; None is what suits the device.
    """
    if cpu_convs is None:
        cpu_convs = jax.default_backend() == "cpu"
    return Network(
        arch,
        rngs=nnx.Rngs(settings.seed),
        dtype=DTYPES[settings.dtype],
        batch_norm_momentum=settings.batch_norm_momentum,
        scan=settings.scan,
        cpu_convs=cpu_convs,
        remat=settings.remat,
        zero_init=settings.zero_init,
        drop_path=settings.drop_path,
        dropout=settings.dropout,
    )


@dataclasses.dataclass(frozen=True)
class _Run:
    """What both jobs need and what is cheap: everything but the network and the compiled steps."""

    config: Config
    arch: OnImages
    dataset: Dataset
    mesh: Mesh
    build: Build

    @classmethod
    def prepare(cls, config: Config, arch: OnImages, build: Build) -> "_Run":
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
        return cls(config, arch, dataset, make_mesh(fsdp=settings.fsdp), build)

    def initial_state(
        self, optimizer: optax.GradientTransformation
    ) -> tuple[nnx.GraphDef, TrainState]:
        settings = self.config.train
        net = self.build(self.arch, settings)
        graphdef, params, batch_stats = split_network(net)
        averages = settings.ema_decay is not None
        state = create_state(params, batch_stats, optimizer, ema=averages)
        return graphdef, place(self.mesh, state)


def _network(arch: OnImages) -> dict[str, Any]:
    """What tells one network from another, for checkpoints; not its name."""
    return {name: value for name, value in arch.to_dict().items() if name != "name"}


def _accuracies(run: _Run, eval_step: EvalStep, state: TrainState) -> dict[str, Any]:
    # A small data set needs no larger batch than itself.
    batch_size = min(run.config.train.eval_batch_size, len(run.dataset.evaluation))
    batches = eval_batches(
        run.dataset, run.config.data, batch_size=padded_batch_size(run.mesh, batch_size)
    )
    with contextlib.closing(batches):
        sums = sum_over_batches(eval_step, variables_for_evaluation(state), batches, run.mesh)
    images = round(sums.pop("images"))
    means = {name: value / images for name, value in sums.items()}
    return {"dataset": run.dataset.name, **means, "images": images}


def _opening(run: _Run, plan: Plan, start: int) -> str:
    count = len(run.dataset.train)
    begins = f"going on from step {start}" if start else "starting"
    return (
        f"training {run.arch.name} on {run.dataset.name} ({count:,} images), {begins}: "
        f"{plan.total_steps:,} steps of {plan.batch_size} images, {run.mesh.size} device(s)"
    )


def _no_checkpoint(directory: Path) -> MissingData:
    return MissingData(
        f"There is no checkpoint in {directory}: run the train job first (--config.jobs=train), or "
        "give the workdir of a run that has trained."
    )
