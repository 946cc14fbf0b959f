"""SGD as detectors are trained by it, and its rate: a warm-up, then steps down.

For one parameter w with gradient g, as PyTorch counts: ``d = g + decay * w``,
``v <- momentum * v + d``, ``w <- w - rate(step) * v``; everything decays but, where the config says
so, the biases of convs and dense layers, whose rate may have a factor.

Source: mmdetection's schedules 1x and 2x and its FCOS.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from deepmad_jax.config import Config, DetectConfig, TrainConfig
from deepmad_jax.train import Plan


def make_optimizer(
    config: Config, plan: Plan
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """What makes a step of a gradient, and its rate by the steps done before."""
    settings: TrainConfig = config.train
    detect: DetectConfig = config.detect
    schedule = make_schedule(detect, settings.learning_rate, plan.steps_per_epoch)
    clipping = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    decayed = (
        (lambda params: jax.tree.map(lambda _: True, params))
        if detect.bias_decays
        else (lambda params: jax.tree.map(lambda bias: not bias, biases(params)))
    )
    optimizer = optax.chain(
        *clipping,
        optax.add_decayed_weights(settings.weight_decay, mask=decayed),
        optax.trace(decay=settings.momentum),
        optax.masked(optax.scale(detect.bias_rate), biases),
        optax.scale_by_learning_rate(schedule),
    )
    return optimizer, schedule


def make_schedule(detect: DetectConfig, peak: float, steps_per_epoch: float) -> optax.Schedule:
    """The rate: ``peak``, less while it warms up, and ``drop_factor`` of it after each drop."""
    drops = jnp.asarray([round(epoch * steps_per_epoch) for epoch in detect.drop_epochs], jnp.int32)

    def schedule(step: Any) -> jax.Array:
        step = jnp.asarray(step)
        rate = peak * detect.drop_factor ** (step >= drops).sum().astype(jnp.float32)
        share = jnp.asarray(detect.warmup_factor, jnp.float32)
        if detect.warmup == "linear":
            share = share + (1.0 - share) * step / max(detect.warmup_steps, 1)
        return jnp.where(step < detect.warmup_steps, share * rate, rate)

    return schedule


def biases(params: Any) -> Any:
    """True for the biases of convs and dense layers, not for those of norms."""

    def mark(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return False
        return {
            name: name == "bias" and "kernel" in tree
            if not isinstance(value, dict)
            else mark(value)
            for name, value in tree.items()
        }

    return mark(params)
