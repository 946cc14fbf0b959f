"""SGD with Nesterov momentum, decay on kernels only, optional clipping, and the cosine schedule.

For one parameter w with gradient g, as PyTorch counts: ``d = g + decay * w`` (kernels only),
``v <- momentum * v + d``, ``w <- w - rate(step) * (d + momentum * v)``.
"""

from typing import Any

import jax
import optax

from deepmad_jax.config import TrainConfig
from deepmad_jax.train.plan import Plan


def make_schedule(config: TrainConfig, plan: Plan) -> optax.Schedule:
    """The learning rate as a function of the steps done before.

    Linear from 0 to the peak, half a cosine down to ``final_learning_rate``, which the cool-down
    keeps.
    """
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=plan.warmup_steps,
        # Optax counts the warm-up in, and keeps the last value afterwards.
        decay_steps=max(plan.total_steps - plan.cooldown_steps, plan.warmup_steps + 1),
        end_value=config.final_learning_rate,
    )


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
