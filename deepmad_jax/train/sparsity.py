"""Training with a share of the weights at zero, in places that move: what SLaK is trained by.

The first step chooses how many weights each kernel keeps: of |w g| over all of them, the largest
count (SNIP); a kernel that would keep 99 % keeps all. Their places are random. After that, every so
many steps, each kernel gives up the smallest of its weights and gets as many at random places that
are zero, fewer as time goes on: a share of ``moved (1 + cos(pi step / steps)) / 2``.

Zeros are stored and multiplied as any number is: this saves neither memory nor time here. Averages
of the weights (``ema_decay``) lag behind a move, so a few of their zeros are only nearly zero.

Source: Liu et al. 2022 (arXiv 2207.03620), section 4.1, and their code; SNIP is of Lee et al. 2019
(arXiv 1810.02340).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

DENSE_FROM = 0.99
"""A kernel that keeps this share of its weights keeps them all."""


class SparseState(NamedTuple):
    """Steps so far, the masks by kernel (stacked blocks on a first axis), the inner state."""

    count: jax.Array
    masks: Any
    inner: Any


def sparse(
    inner: optax.GradientTransformation,
    sparsity: float,
    every: int,
    moved: float,
    total_steps: int,
    seed: int,
) -> optax.GradientTransformation:
    """An optimiser after whose steps that share of all weights of kernels is exactly zero.

    Fewer are where SNIP leaves a kernel dense.

    Args:
        inner: the optimiser of the others.
        sparsity: share of the zeros.
        every: steps between two moves.
        moved: greatest share of a kernel's weights that move at once.
        total_steps: of the training.
        seed: of the places.
    """

    def init(params: Any) -> SparseState:
        masks = jax.tree_util.tree_map_with_path(
            lambda path, w: jnp.ones(w.shape, bool) if _is_kernel(path) else jnp.ones((), bool),
            params,
        )
        return SparseState(jnp.zeros((), jnp.int32), masks, inner.init(params))

    def update(gradients: Any, state: SparseState, params: Any) -> tuple[Any, SparseState]:
        count, key = state.count, jax.random.fold_in(jax.random.key(seed), state.count)
        share = 0.5 * moved * (1.0 + jnp.cos(jnp.pi * count / max(total_steps, 1)))

        def moves() -> Any:
            return jax.lax.cond(
                count % every == 0,
                lambda: _per_kernel(key, _move, state.masks, params, share),
                lambda: state.masks,
            )

        masks = jax.lax.cond(
            count == 0, lambda: _first_masks(key, params, gradients, sparsity), moves
        )
        gradients = jax.tree.map(lambda g, m: jnp.where(m, g, 0), gradients, masks)
        updates, inner_state = inner.update(gradients, state.inner, params)
        updates = jax.tree.map(lambda u, w, m: jnp.where(m, u, -w), updates, params, masks)
        return updates, SparseState(count + 1, masks, inner_state)

    return optax.GradientTransformation(init, update)


def _first_masks(key: jax.Array, params: Any, gradients: Any, sparsity: float) -> Any:
    scores = jax.tree_util.tree_map_with_path(
        lambda path, w, g: jnp.abs(w * g) if _is_kernel(path) else None, params, gradients
    )
    every = jnp.sort(jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(scores)]))
    threshold = every[round(sparsity * every.size)]

    def places(key: jax.Array, mask: jax.Array, w: jax.Array, g: jax.Array) -> jax.Array:
        kept = (jnp.abs(w * g) >= threshold).sum()
        kept = jnp.where(kept >= DENSE_FROM * w.size, w.size, kept)
        return _rank(jax.random.uniform(key, w.shape)) < kept

    masks = jax.tree_util.tree_map_with_path(lambda path, w: jnp.ones((), bool), params)
    return _per_kernel(key, places, masks, params, gradients)


def _move(key: jax.Array, mask: jax.Array, w: jax.Array, share: jax.Array) -> jax.Array:
    """The smallest weights of a kernel given up, as many zeros taken up."""
    active = mask.sum()
    count = jnp.where(active == mask.size, 0, jnp.floor(share * active)).astype(jnp.int32)
    zeros = mask.size - active
    # Zeros come first, then the smallest of the others.
    rank = _rank(jnp.where(mask, jnp.abs(w), -1.0))
    left = mask & (rank >= zeros + count)
    return left | (_rank(jnp.where(left, 2.0, jax.random.uniform(key, mask.shape))) < count)


def _per_kernel(key: jax.Array, rule: Any, masks: Any, params: Any, more: Any) -> Any:
    """``rule`` for every kernel, of stacked blocks each; ``more`` is a tree or a scalar."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    mask_leaves, structure = jax.tree.flatten(masks)
    others = jax.tree.leaves(more)
    others = others * len(paths) if len(others) == 1 else others
    found = []
    for i, ((path, w), mask, other) in enumerate(zip(paths, mask_leaves, others, strict=True)):
        if not _is_kernel(path):
            found.append(mask)
            continue
        own, mask = jax.random.fold_in(key, i), jnp.broadcast_to(mask, w.shape)
        if any(getattr(part, "key", None) == "rest" for part in path):
            keys = jax.random.split(own, len(w))
            axes = (0, 0, 0, 0 if jnp.ndim(other) else None)
            found.append(jax.vmap(rule, axes)(keys, mask, w, other))
        else:
            found.append(rule(own, mask, w, other))
    return jax.tree.unflatten(structure, found)


def _rank(values: jax.Array) -> jax.Array:
    """The place of every value in ascending order."""
    return jnp.argsort(jnp.argsort(values.ravel())).reshape(values.shape)


def _is_kernel(path: tuple[Any, ...]) -> bool:
    return getattr(path[-1], "key", None) == "kernel"
