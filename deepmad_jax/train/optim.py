"""The optimisers, with decay on kernels only and optional clipping, and the cosine schedule.

For one parameter w with gradient g, as PyTorch counts. SGD with Nesterov momentum:
``d = g + decay * w`` (kernels only), ``v <- momentum * v + d``,
``w <- w - rate(step) * (d + momentum * v)``.

AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), LAMB (You et al. 2020, arXiv 1904.00962) and
Lion (Chen et al. 2023, arXiv 2302.06675) are Optax's: their decay is no part of the gradient. LAMB
takes stacked blocks one by one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from deepmad_jax.config import TrainConfig
from deepmad_jax.train.plan import Plan
from deepmad_jax.train.sparsity import sparse
from deepmad_jax.train.update import Elementwise
from deepmad_jax.unstacked import is_stack


def make_schedule(config: TrainConfig, plan: Plan) -> optax.Schedule:
    """The learning rate as a function of the steps done before.

    Half a cosine from the peak, over all epochs, down to ``final_learning_rate``, which the
    cool-down keeps. The warm-up, linear from ``warmup_learning_rate`` to the peak, stands in front
    of the cosine and does not delay it: where it ends, the cosine is a little below the peak.

    Source: timm's cosine schedule (timm/scheduler/cosine_lr.py), which steps once an epoch by
    default; here it is by step, as its ``--sched-on-updates``.
    """
    peak, end = config.learning_rate, config.final_learning_rate
    warmup = optax.linear_schedule(config.warmup_learning_rate, peak, plan.warmup_steps)
    cosine = optax.cosine_decay_schedule(
        peak, max(plan.total_steps - plan.cooldown_steps, 1), alpha=end / peak if peak else 0.0
    )

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        rate = jnp.where(step < plan.warmup_steps, warmup(step), cosine(step))
        # A value by itself: XLA would compute the cosine anew for every number it multiplies.
        return jax.lax.optimization_barrier(rate)

    return schedule


def make_optimizer(
    config: TrainConfig, schedule: optax.Schedule, total_steps: int = 0
) -> optax.GradientTransformation:
    """The optimiser that ``config`` names; `is_decayed` says which parameters decay.

    With ``clip_norm`` the gradients of a step are first scaled to at most that norm, all together.
    With ``layer_decay`` below 1 what comes out is scaled block by block (`block_shares`).
    With ``sparsity`` a share of the weights stays at zero (`sparsity.sparse`); ``total_steps`` is
    over how many steps their moves become fewer.
    """

    def mask(params: Any) -> Any:
        return decay_mask(params, config.decay_positions)

    betas = {"b1": config.momentum, "b2": config.second_momentum}
    decay = {"weight_decay": config.weight_decay, "mask": mask}
    if config.optimizer == "sgd":
        steps = [
            optax.add_decayed_weights(config.weight_decay, mask=mask),
            optax.sgd(schedule, momentum=config.momentum, nesterov=True),
        ]
    elif config.optimizer == "adamw":
        steps = [optax.adamw(schedule, **betas, **decay)]
    elif config.optimizer == "lamb":
        # As `optax.lamb`, whose epsilon is PyTorch's of LAMB too; but every block by its own norms.
        steps = [
            optax.scale_by_adam(**betas, eps=1e-6),
            optax.add_decayed_weights(**decay),
            _scale_by_trust_ratio(),
            optax.scale_by_learning_rate(schedule),
        ]
    else:
        steps = [optax.lion(schedule, **betas, **decay)]
    if config.clip_norm is not None:
        steps.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if config.layer_decay < 1.0:
        steps.append(_scale_blocks(config.layer_decay))
    every = optax.chain(*steps)
    if config.optimizer != "lamb" and config.clip_norm is None and config.layer_decay == 1.0:
        every = Elementwise(*every)
    if not config.sparsity:
        return every
    moves = (config.sparsity, config.sparsity_every, config.sparsity_moved)
    return sparse(every, *moves, total_steps, config.seed)


def decay_mask(params: Any, positions: bool = False) -> Any:
    """True for every parameter that decays, in the structure of ``params``."""
    return jax.tree_util.tree_map_with_path(lambda path, _: is_decayed(path, positions), params)


def is_decayed(path: tuple[Any, ...], positions: bool = False) -> bool:
    """Whether the parameter at this path decays: it does if it is called ``kernel``.

    With ``positions`` also the table of a ``position``; never a class token or a bias by relative
    position. By name, not by rank: stacked blocks give norms and biases a second axis.
    """
    # `Unstacked` arrays are at numbered places below the name.
    names = [str(part.key) for part in path if hasattr(part, "key")]
    is_position = names[-1] == "table" and "position" in names[-2]
    return names[-1] == "kernel" or (positions and is_position)


def block_shares(params: Any, layer_decay: float) -> Any:
    """The share of the rate of every parameter: 1 for the head, ``layer_decay`` times that of what
    follows it for every block, and the same once more for the stem.

    An array of stacked blocks has a share for each of them, of shape (blocks, 1, ...).

    Source: Clark et al. 2020 (arXiv 2003.10555), as BEiT and ConvNeXt fine-tune.
    """
    stages = params["stages"]
    depths = [
        1 + (jax.tree.leaves(stage["rest"])[0].shape[0] if stage.get("rest") else 0)
        for _, stage in sorted(stages.items(), key=lambda item: int(item[0]))
    ]
    total = sum(depths) + 1

    def share(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        names = [getattr(part, "key", None) for part in path]
        if names[0] == "stem":
            return jnp.asarray(layer_decay**total)
        if names[0] != "stages":
            return jnp.asarray(1.0)
        stage, part = int(names[1]), names[2]
        before = sum(depths[:stage])
        if part == "first":
            return jnp.asarray(layer_decay ** (total - 1 - before))
        places = jnp.arange(leaf.shape[0]).reshape(-1, *[1] * (leaf.ndim - 1))
        return layer_decay ** (total - 2.0 - before - places)

    return jax.tree_util.tree_map_with_path(share, params)


def _scale_by_trust_ratio() -> optax.GradientTransformation:
    """Scales a step by the norm of what it changes over its own, of stacked blocks each by itself.

    Source: You et al. 2020 (arXiv 1904.00962), whose ratio is of a layer.
    """
    of_array = optax.scale_by_trust_ratio()

    def one(update: jax.Array, param: jax.Array) -> Any:
        return of_array.update(update, of_array.init(param), param)[0]

    def scaled(updates: Any, params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, *arrays: (jax.vmap(one) if is_stack(path) else one)(*arrays),
            updates,
            params,
        )

    return optax.stateless(scaled)


def _scale_blocks(layer_decay: float) -> optax.GradientTransformation:
    def scaled(updates: Any, params: Any) -> Any:
        shares = block_shares(updates, layer_decay)
        return jax.tree.map(lambda u, s: (u * s).astype(u.dtype), updates, shares)

    return optax.stateless(scaled)
