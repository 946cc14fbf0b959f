"""One training step and one evaluation step, compiled for a mesh.

A loss function takes ``(params, batch_stats, batch)`` and returns ``(loss, (batch_stats,
metrics))``: the mean loss over the batch, the new statistics, and a dict of scalars to log. The
state is donated: what was passed in must not be used again.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from deepmad_jax.train.mesh import replicated, split_by_image
from deepmad_jax.train.state import PyTree, TrainState, updated_average

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
LossFn = Callable[[PyTree, PyTree, Batch], tuple[jax.Array, tuple[PyTree, Metrics]]]
SumsFn = Callable[[PyTree, PyTree, Batch], Metrics]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[PyTree, PyTree, Batch], Metrics]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    *,
    ema_decay: float | None = None,
) -> TrainStep:
    """A compiled ``(state, batch) -> (state, metrics)``.

    Args:
        loss_fn: see above.
        optimizer, schedule: of `deepmad_jax.train.optim`; the schedule is for the log.
        mesh: the batch is split over it by image, the state is on every device.
        ema_decay: of the averages, where the state has some.

    Returns:
        The step. Its metrics are the loss function's and ``loss``, ``gradient_norm`` and
        ``learning_rate``, float32 scalars.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (batch_stats, metrics)), grads = grad_fn(state.params, state.batch_stats, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None and ema_decay is not None:
            ema = updated_average(ema, (params, batch_stats), state.step, ema_decay)
        metrics |= {
            "loss": loss,
            "gradient_norm": optax.tree.norm(grads),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        return TrainState(state.step + 1, params, batch_stats, opt_state, ema), metrics

    return _compiled(train_step, (replicated(mesh), split_by_image(mesh)), mesh, donate=(0,))


def make_eval_step(sums_fn: SumsFn, mesh: Mesh) -> EvalStep:
    """A compiled ``(params, batch_stats, batch) -> sums``.

    Args:
        sums_fn: the same function; sums over the images of the batch, in whatever way it says.
        mesh: as for `make_train_step`.
    """
    whole = replicated(mesh)
    return _compiled(sums_fn, (whole, whole, split_by_image(mesh)), mesh, donate=())


def _compiled(function: Callable[..., Any], inputs: Any, mesh: Mesh, donate: Any) -> Any:
    return jax.jit(
        function, in_shardings=inputs, out_shardings=replicated(mesh), donate_argnums=donate
    )
