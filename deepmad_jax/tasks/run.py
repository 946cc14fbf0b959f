"""Training and evaluation of any task: data, network and engine joined.

What can be missing or unfit is looked at first: checkpoint, data, plan, batch sizes. Only then is a
network built and anything compiled. What is learned, a `Task` says; none is imported here.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import optax
from flax import nnx
from jax.sharding import Mesh

from deepmad_jax.config import Config
from deepmad_jax.errors import MissingData
from deepmad_jax.tasks.task import Named, Opened, Task, split_network
from deepmad_jax.train import (
    Checkpoints,
    Logbook,
    Plan,
    TrainState,
    check_batch_size,
    create_state,
    fit,
    make_mesh,
    make_train_step,
    place,
    record,
    state_sharding,
)


def train(task: Task, config: Config, arch: Named, workdir: str | Path) -> TrainState:
    """Trains ``arch``, going on from the newest checkpoint in ``workdir``; returns the last state.

    Leaves ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/`` and, where the config asks for one,
    ``profile/`` there.

    Raises:
        MissingData: the data set is not prepared.
        InvalidConfig: data that do not fit the network, a batch that does not fit the devices.
        Diverged: the loss is no longer finite.
        CheckpointFailed: the disk is full, or the like.
    """
    workdir, settings = Path(workdir), config.train
    run = _Run.prepare(task, config, arch)
    plan = Plan.of(settings, run.data.num_train)
    check_batch_size(run.mesh, plan.batch_size, settings.accumulate_steps)
    optimizer, schedule = task.optimizer(config, plan)
    batches = run.data.train_batches(config)
    saved = workdir / "checkpoints"
    fresh = not (saved.is_dir() and any(saved.iterdir()))
    graphdef, state = run.initial_state(optimizer, fresh)
    train_step = make_train_step(
        task.loss_fn(graphdef, run.data, config),
        optimizer,
        schedule,
        run.mesh,
        ema_decay=settings.ema_decay,
        accumulate=settings.accumulate_steps,
        batch_norm_groups=settings.batch_norm_groups,
        seed=settings.seed,
        state_sharding=state_sharding(run.mesh, state),
        forms=run.data.forms,
    )
    stream = {
        "config.train.batch_size": settings.batch_size,
        "config.train.seed": settings.seed,
    }
    with (
        # Ends the worker processes, if there are any.
        contextlib.closing(batches),
        Checkpoints(
            saved,
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
                evaluate=task.evaluator(graphdef, run.data, config, run.mesh, workdir),
                plan=plan,
                mesh=run.mesh,
                checkpoints=checkpoints,
                logbook=logbook,
                progress=progress,
                best_by=task.best_by,
                prefetch=settings.prefetch,
                profile_dir=workdir / "profile" if config.profile else None,
            )


def evaluate(task: Task, config: Config, arch: Named, workdir: str | Path) -> dict[str, Any]:
    """The numbers of a checkpoint, which ``config.checkpoint`` says, over all evaluation samples.

    Also written to ``metrics.jsonl``, unless a line of that step says the same already.

    Returns:
        ``split`` ("eval"), ``step`` and what the task's evaluator gives.

    Raises:
        MissingData: no checkpoint there, or the data set is not prepared.
        InvalidConfig: data that do not fit the network.
    """
    directory = Path(workdir) / "checkpoints"
    if not directory.is_dir():
        raise _no_checkpoint(directory)
    run = _Run.prepare(task, config, arch)
    with Checkpoints(directory, network=_network(arch), read_only=True) as checkpoints:
        chosen = checkpoints.chosen_step(config.checkpoint)
        if chosen is None:
            raise _no_checkpoint(directory)
        optimizer, _ = task.optimizer(config, Plan.of(config.train, run.data.num_train))
        graphdef, state = run.initial_state(optimizer, fresh=False)
        # The newest gives way to the one before where it is broken.
        found = checkpoints.restore(state, only=chosen if config.checkpoint == "best" else None)
        assert found is not None
    for note in found.notes:
        print(note, flush=True)
    evaluator = task.evaluator(graphdef, run.data, config, run.mesh, Path(workdir))
    numbers = evaluator(found.state)
    line = {"split": "eval", "step": found.step, **numbers}
    record(workdir, line)
    return line


@dataclasses.dataclass(frozen=True)
class _Run:
    """What both need and what is cheap: everything but the network and the compiled steps."""

    task: Task
    config: Config
    arch: Named
    data: Opened
    mesh: Mesh

    @classmethod
    def prepare(cls, task: Task, config: Config, arch: Named) -> "_Run":
        return cls(task, config, arch, task.open(config, arch), make_mesh(fsdp=config.train.fsdp))

    def initial_state(
        self, optimizer: optax.GradientTransformation, fresh: bool
    ) -> tuple[nnx.GraphDef, TrainState]:
        net = self.task.build(self.arch, self.config, self.data, fresh)
        graphdef, params, batch_stats = split_network(net)
        averages = self.config.train.ema_decay is not None
        state = create_state(params, batch_stats, optimizer, ema=averages)
        return graphdef, place(self.mesh, state)


def _network(arch: Named) -> dict[str, Any]:
    """What tells one network from another, for checkpoints; not its name."""
    return {name: value for name, value in arch.to_dict().items() if name != "name"}


def _opening(run: _Run, plan: Plan, start: int) -> str:
    begins, samples = f"going on from step {start}" if start else "starting", run.data.samples
    return (
        f"training {run.arch.name} on {run.data.name} ({run.data.num_train:,} {samples}), "
        f"{begins}: {plan.total_steps:,} steps of {plan.batch_size} {samples}, "
        f"{run.mesh.size} device(s)"
    )


def _no_checkpoint(directory: Path) -> MissingData:
    return MissingData(
        f"There is no checkpoint in {directory}: run the train job first (--config.jobs=train), or "
        "give the workdir of a run that has trained."
    )
