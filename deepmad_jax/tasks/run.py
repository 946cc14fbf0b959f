"""Training and evaluation of any task: data, network and engine joined.

What can be missing or unfit is looked at first: checkpoint, data, plan, batch sizes. Only then is a
network built and anything compiled. What is learned, a `Task` says; none is imported here.
"""

import contextlib
from pathlib import Path
from typing import Any

from flax import nnx

from deepmad_jax.config import Config
from deepmad_jax.tasks.prepared import Prepared, identity, no_checkpoint
from deepmad_jax.tasks.task import Named, Task
from deepmad_jax.train import (
    Checkpoints,
    FirstBatches,
    Logbook,
    Look,
    Plan,
    Speed,
    TrainState,
    as_run,
    check_batch_size,
    count_start,
    fit,
    make_pictures,
    make_statistics,
    make_train_step,
    record,
    state_sharding,
)
from deepmad_jax.train.step import LossFn
from deepmad_jax.unstacked import stacked


def train(task: Task, config: Config, arch: Named, workdir: str | Path) -> TrainState:
    """Trains ``arch``, going on from the newest checkpoint in ``workdir``; returns the last state.

    Leaves ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/`` and, where the config asks for one,
    ``profile/`` there.

    Raises:
        MissingData: the data set is not prepared.
        InvalidConfig: data that do not fit the network, a batch that does not fit the devices.
        Diverged: the loss is no longer finite.
        CheckpointFailed: the disk is full, or the like.
        UserError: it has begun as often as ``config.watch.restarts`` lets it without getting on.
    """
    workdir, settings = Path(workdir), config.train
    run = Prepared.of(task, config, arch)
    plan = Plan.of(settings, run.data.num_train)
    check_batch_size(run.mesh, plan.batch_size, settings.accumulate_steps)
    optimizer, schedule = task.optimizer(config, plan)
    batches = run.data.train_batches(config)
    if settings.overfit_batches:
        batches = FirstBatches(batches, settings.overfit_batches)
    saved = workdir / "checkpoints"
    fresh = not (saved.is_dir() and any(saved.iterdir()))
    graphdef, state = run.initial_state(optimizer, fresh)
    loss_fn = task.loss_fn(graphdef, run.data, config)
    train_step = make_train_step(
        loss_fn,
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
            network=identity(arch),
            stream=stream,
        ) as checkpoints,
    ):
        found = checkpoints.restore(state, batches)
        start = found.step if found else 0
        if start < plan.total_steps:
            count_start(workdir, start, config.watch.restarts)
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
            state = as_run(state, optimizer, run.mesh, settings.scan)
            # Not held while it trains: the loop donates the state.
            progress, found = (found.progress if found else {}), None
            state = fit(
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
                look=_look(run, graphdef, loss_fn),
                speed=Speed.here(task.macs(arch, config), settings.dtype, config.watch.peak_tflops),
                profile_dir=workdir / "profile" if config.profile else None,
            )
    return stacked(state)


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
        raise no_checkpoint(directory)
    run = Prepared.of(task, config, arch)
    with Checkpoints(directory, network=identity(arch), read_only=True) as checkpoints:
        chosen = checkpoints.chosen_step(config.checkpoint)
        if chosen is None:
            raise no_checkpoint(directory)
        optimizer, _ = task.optimizer(config, Plan.of(config.train, run.data.num_train))
        graphdef, state = run.initial_state(optimizer, fresh=False)
        # The newest gives way to the one before where it is broken.
        found = checkpoints.restore(state, only=chosen if config.checkpoint == "best" else None)
        assert found is not None
    for note in found.notes:
        print(note, flush=True)
    evaluator = task.evaluator(graphdef, run.data, config, run.mesh, Path(workdir))
    numbers = evaluator(as_run(found.state, optimizer, run.mesh, config.train.scan))
    line = {"split": "eval", "step": found.step, **numbers}
    record(workdir, line)
    return line


def _look(run: Prepared, graphdef: nnx.GraphDef, loss_fn: LossFn) -> Look | None:
    """What ``config.watch`` wants to see of the run; None where it is nothing."""
    watch, seed = run.config.watch, run.config.train.seed
    if not (watch.images or watch.statistics_every):
        return None
    pictures = statistics = None
    if watch.images:
        seen = run.task.seen(run.data, run.config)
        pictures = make_pictures(seen, watch.images, run.mesh)
    if watch.statistics_every:
        maps = run.task.maps(graphdef, run.data, run.config)
        statistics = make_statistics(loss_fn, maps, run.mesh, seed)
    return Look(pictures, statistics, max(watch.statistics_every, 1))


def _opening(run: Prepared, plan: Plan, start: int) -> str:
    begins, samples = f"going on from step {start}" if start else "starting", run.data.samples
    return (
        f"training {run.arch.name} on {run.data.name} ({run.data.num_train:,} {samples}), "
        f"{begins}: {plan.total_steps:,} steps of {plan.batch_size} {samples}, "
        f"{run.mesh.size} device(s)"
    )
