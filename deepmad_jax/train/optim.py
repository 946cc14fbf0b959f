"""SGD with Nesterov momentum, decay on kernels only, optional clipping, and the cosine schedule.

For one parameter w with gradient g, as PyTorch counts: ``d = g + decay * w`` (kernels only),
``v <- momentum * v + d``, ``w <- w - rate(step) * (d + momentum * v)``.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from deepmad_jax.config import TrainConfig
from deepmad_jax.train.plan import Plan


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
    return lambda step: jnp.where(step < plan.warmup_steps, warmup(step), cosine(step))


def make_optimizer(config: TrainConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; `is_decayed` says which parameters decay.

    With ``clip_norm`` the gradients of a step are first scaled to at most that norm, all together.
    """
    clipping = [] if config.clip_norm is None else [optax.clip_by_global_norm(config.clip_norm)]
    return optax.chain(
        *clipping,
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
        optax.sgd(schedule, momentum=config.momentum, nesterov=True),
    )


def decay_mask(params: Any) -> Any:
    """True for every parameter that decays, in the structure of ``params``."""
    return jax.tree_util.tree_map_with_path(lambda path, _: is_decayed(path), params)


def is_decayed(path: tuple[Any, ...]) -> bool:
    """Whether the parameter at this path decays: it does if it is called ``kernel``.

    By name, not by rank: stacked blocks give norms and biases a second axis.
    """
    return getattr(path[-1], "key", None) == "kernel"
