"""Everything a training step changes, as one pytree; a checkpoint holds exactly this."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from deepmad_jax.train.update import Elementwise, goes_one_by_one
from deepmad_jax.unstacked import unstacked

PyTree = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state after ``step`` steps.

    Attributes:
        step: int32, shape ().
        params: trainable arrays, float32.
        batch_stats: BatchNorm's running statistics, float32.
        opt_state: the optimiser's.
        ema: averages ``(params, batch_stats)``, or None where none is kept.
    """

    step: jax.Array
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    ema: tuple[PyTree, PyTree] | None


def create_state(
    params: PyTree, batch_stats: PyTree, optimizer: optax.GradientTransformation, *, ema: bool
) -> TrainState:
    """The state before the first step; averages start at the initial values."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=_first_state(optimizer, params),
        ema=(params, batch_stats) if ema else None,
    )


def _first_state(optimizer: optax.GradientTransformation, params: PyTree) -> PyTree:
    if not isinstance(optimizer, Elementwise):
        return optimizer.init(params)
    # Zeros of every shape would be compiled, which takes 2 s for a large network on a CPU.
    shapes = jax.eval_shape(optimizer.init, params)
    return jax.tree.map(lambda of: jax.device_put(np.zeros(of.shape, of.dtype)), shapes)


def as_run(
    state: TrainState, optimizer: optax.GradientTransformation, mesh: Mesh, scan: bool | None
) -> TrainState:
    """The state as the steps take it: without stacks where blocks run one by one on a CPU.

    Args:
        state: on the devices, with stacks.
        optimizer: its own.
        mesh: where it lies.
        scan: of `TrainConfig`.
    """
    return unstacked(state) if goes_one_by_one(optimizer, mesh) and not scan else state


def variables_for_evaluation(state: TrainState) -> tuple[PyTree, PyTree]:
    """Params and BatchNorm statistics to evaluate with: the averages where they are kept."""
    return (state.params, state.batch_stats) if state.ema is None else state.ema


def updated_average(average: PyTree, new: PyTree, step: jax.Array, decay: float) -> PyTree:
    """The exponential moving average after one more value.

    The decay grows from a tenth to ``decay`` as (1 + step) / (10 + step), so that a short run is
    not stuck at its initial values, as TensorFlow's averages do (timm has none by default, and
    another one where asked for).

    Args:
        average, new: of the same structure.
        step: steps done before this one, shape ().
        decay: share of the old average in the long run.
    """
    step = step.astype(jnp.float32)
    share = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, value: share * old + (1 - share) * value, average, new)
