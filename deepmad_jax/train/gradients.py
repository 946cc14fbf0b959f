"""The gradient of a batch: at once, in pieces one after the other, or in groups side by side.

- ``accumulate`` pieces: the gradient is the mean over the pieces, computed one after the other, so
  that memory falls by that factor. Without BatchNorm that is the gradient of the whole batch; with
  it, each piece is normalised by its own statistics and the running ones move once a piece.
- ``groups``: BatchNorm takes its statistics within each group of a piece, as if each group were on
  a device of its own (groups = number of devices is what PyTorch does without SyncBatchNorm).
  The running statistics move by the mean of the groups'. With one group, the default, the
  statistics are of the whole batch over all devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from deepmad_jax.train.mesh import split_by_image

PyTree = Any
Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
LossFn = Callable[[PyTree, PyTree, Batch, jax.Array], tuple[jax.Array, tuple[PyTree, Metrics]]]
GradientFn = Callable[
    [PyTree, PyTree, Batch, jax.Array], tuple[tuple[jax.Array, tuple[PyTree, Metrics]], PyTree]
]


@dataclasses.dataclass(frozen=True, eq=False)
class LossWithArrays:
    """A loss function that needs arrays which do not learn, such as a teacher's.

    `make_train_step` hands them to the compiled step as an argument: closed over, they would be
    written into the program as constants. Called by itself it is an ordinary loss function.

    Attributes:
        function: a loss function that takes these arrays besides, as its last argument.
        arrays: any pytree.
    """

    function: Callable[..., Any]
    arrays: PyTree

    def __call__(self, params: PyTree, batch_stats: PyTree, batch: Batch, key: jax.Array) -> Any:
        return self.function(params, batch_stats, batch, key, self.arrays)


def make_gradient_fn(
    loss_fn: LossFn, mesh: Mesh, *, accumulate: int = 1, groups: int = 1
) -> GradientFn:
    """``(params, batch_stats, batch, key) -> ((loss, (batch_stats, metrics)), gradients)``.

    Args:
        loss_fn: of `deepmad_jax.train.step`.
        mesh: the batch is split over it by image.
        accumulate: pieces, a divisor of the batch.
        groups: of every piece, a divisor of it.
    """
    gradient_fn = jax.value_and_grad(_in_groups(loss_fn, groups, mesh), has_aux=True)
    return _in_pieces(gradient_fn, accumulate, mesh)


def _in_groups(loss_fn: LossFn, groups: int, mesh: Mesh) -> LossFn:
    if groups == 1:
        return loss_fn

    def grouped(params: PyTree, batch_stats: PyTree, batch: Batch, key: jax.Array) -> Any:
        # Neighbours form a group: with one group a device, no image moves.
        pieces = {n: v.reshape(groups, -1, *v.shape[1:]) for n, v in batch.items()}
        keys = jax.random.split(key, groups)
        run = jax.vmap(loss_fn, in_axes=(None, None, 0, 0))
        return jax.tree.map(lambda x: x.mean(0), run(params, batch_stats, pieces, keys))

    return grouped


def _in_pieces(gradient_fn: GradientFn, accumulate: int, mesh: Mesh) -> GradientFn:
    if accumulate == 1:
        return gradient_fn

    def accumulated(params: PyTree, batch_stats: PyTree, batch: Batch, key: jax.Array) -> Any:
        def one_piece(carry: Any, piece: Any) -> Any:
            batch_stats, total = carry
            index, images = piece
            (loss, (batch_stats, metrics)), grads = gradient_fn(
                params, batch_stats, images, jax.random.fold_in(key, index)
            )
            total = jax.tree.map(lambda t, g: t + g / accumulate, total, grads)
            return (batch_stats, total), (loss, metrics)

        pieces = {name: _interleaved(value, accumulate, mesh) for name, value in batch.items()}
        carry = (batch_stats, jax.tree.map(jnp.zeros_like, params))
        (batch_stats, grads), logged = jax.lax.scan(
            one_piece, carry, (jnp.arange(accumulate), pieces)
        )
        loss, metrics = jax.tree.map(lambda x: x.mean(0), logged)
        return (loss, (batch_stats, metrics)), grads

    return accumulated


def _interleaved(value: jax.Array, accumulate: int, mesh: Mesh) -> jax.Array:
    """Shape (accumulate, b / accumulate, ...): piece k has the images k, k + accumulate, ..."""
    # Not b / accumulate neighbours: those lie on one device, and the others would stand idle.
    pieces = jnp.swapaxes(value.reshape(-1, accumulate, *value.shape[1:]), 0, 1)
    return jax.lax.with_sharding_constraint(pieces, split_by_image(mesh, axis=1))
