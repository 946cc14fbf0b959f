"""One training step and one evaluation step, compiled for a mesh.

A loss function takes ``(params, batch_stats, batch, key)`` and returns ``(loss, (batch_stats,
metrics))``: the mean loss over the batch, the new statistics, and a dict of scalars to log. Its key
is made from the seed and the step alone, so a resumed run draws the same numbers. The state is
donated: what was passed in must not be used again.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from deepmad_jax.compiler_options import network_options
from deepmad_jax.train.gradients import (
    Batch,
    LossFn,
    LossWithArrays,
    Metrics,
    make_gradient_fn,
)
from deepmad_jax.train.mesh import place, replicated, split_by_image
from deepmad_jax.train.state import PyTree, TrainState, updated_average
from deepmad_jax.train.update import updated

SumsFn = Callable[[PyTree, PyTree, Batch], Metrics]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[PyTree, PyTree, Batch], Metrics]

TRAINING = 1
"""Purpose folded into the seed for the numbers a step draws; initialisation uses the bare seed."""


def step_key(seed: int, step: jax.Array) -> jax.Array:
    """The key of one training step; ``step`` is the number of steps done before."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), TRAINING), step)


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    *,
    ema_decay: float | None = None,
    accumulate: int = 1,
    batch_norm_groups: int = 1,
    seed: int = 0,
    state_sharding: Any = None,
    forms: int = 1,
) -> TrainStep:
    """A compiled ``(state, batch) -> (state, metrics)``.

    Args:
        loss_fn: see above; the arrays of a `LossWithArrays` lie on the devices as the state does.
        optimizer, schedule: of `deepmad_jax.train.optim`; the schedule is for the log.
        mesh: the batch is split over it by image.
        ema_decay: of the averages, where the state has some.
        accumulate, batch_norm_groups: see `deepmad_jax.train.gradients`.
        seed: of the loss function's keys.
        state_sharding: of `deepmad_jax.train.mesh`; None: the state is on every device.
        forms: shapes that batches come in; the step is compiled for each.

    Returns:
        The step. Its metrics are the loss function's and ``loss``, ``gradient_norm`` (before
        clipping), ``parameter_norm``, ``update_norm`` and ``learning_rate``, float32 scalars.
    """
    arrays = (place(mesh, loss_fn.arrays),) if isinstance(loss_fn, LossWithArrays) else ()

    def train_step(*given: Any) -> tuple[TrainState, Metrics]:
        *traced, state, batch = given
        loss_of = dataclasses.replace(loss_fn, arrays=traced[0]) if traced else loss_fn
        gradient_fn = make_gradient_fn(
            loss_of, mesh, accumulate=accumulate, groups=batch_norm_groups
        )
        key = step_key(seed, state.step)
        (loss, (batch_stats, metrics)), grads = gradient_fn(
            state.params, state.batch_stats, batch, key
        )
        params, opt_state, squares = updated(optimizer, grads, state.opt_state, state.params, mesh)
        ema = state.ema
        if ema is not None and ema_decay is not None:
            ema = updated_average(ema, (params, batch_stats), state.step, ema_decay)
        metrics |= {
            "loss": loss,
            **{f"{name}_norm": jnp.sqrt(square) for name, square in squares.items()},
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        return TrainState(state.step + 1, params, batch_stats, opt_state, ema), metrics

    whole = replicated(mesh)
    where = whole if state_sharding is None else state_sharding
    step = jax.jit(
        _traced_for(forms, train_step),
        in_shardings=(*(None for _ in arrays), where, split_by_image(mesh)),
        out_shardings=(where, whole),
        donate_argnums=(len(arrays),),
        compiler_options=network_options(mesh.devices.flat[0].platform),
    )
    return functools.partial(step, *arrays) if arrays else step


def make_eval_step(sums_fn: SumsFn, mesh: Mesh, forms: int = 1) -> EvalStep:
    """A compiled ``(params, batch_stats, batch) -> sums``.

    Args:
        sums_fn: the same function; sums over the images of the batch, in whatever way it says.
        mesh, forms: as for `make_train_step`.
    """
    # Params and statistics stay where they lie, be that whole or split.
    return jax.jit(
        _traced_for(forms, sums_fn),
        in_shardings=(None, None, split_by_image(mesh)),
        out_shardings=replicated(mesh),
        compiler_options=network_options(mesh.devices.flat[0].platform),
    )


def _traced_for(forms: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, failing where JAX traces it for more types: a batch changed its form."""
    known: list[Any] = []

    @functools.wraps(function)  # its name is what profiles show
    def checked(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args)
        types = ([x.aval for x in leaves], structure)
        # The same types may come again, where JAX has dropped what it had compiled.
        if types not in known:
            assert len(known) < forms, f"compiled for {known}, and now again for {types}"
            known.append(types)
        return function(*args)

    return checked
