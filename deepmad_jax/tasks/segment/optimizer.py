"""SGD or AdamW as segmenters are trained by them, and the rate: a warm-up, then a power down.

Of T steps, before step t the rate is ``last + (peak - last) (1 - t / T)^power``, and while it warms
up that times a share which rises linearly from ``warmup_factor`` to 1. SGD is PyTorch's, without
Nesterov: ``d = g + decay * w``, ``v <- momentum * v + d``, ``w <- w - rate * v``. AdamW decays
``w <- w - rate * decay * w`` beside its step.

With ``layer_decay`` the rate of a backbone's stage i of n (from 0) has the factor
``layer_decay^(n + 2 - i)``, that of its stem and of what makes the map smaller between two stages
``layer_decay^(n + 3)``; norms of its maps and the heads have 1.

Source: mmsegmentation's schedules, and its stage-wise rates for ConvNeXt.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from deepmad_jax.config import Config, SegmentConfig, TrainConfig
from deepmad_jax.train import Plan

ADAM_BETAS = (0.9, 0.999)

BETWEEN = "main0_layer_norm"
"""What a stage's first block begins with where layers between the stages make the map smaller."""


def make_optimizer(
    config: Config, plan: Plan
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """What makes a step of a gradient, and its rate by the steps done before."""
    settings: TrainConfig = config.train
    segment: SegmentConfig = config.segment
    schedule = make_schedule(settings, segment, plan.total_steps)
    clipping = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    decay = optax.add_decayed_weights(
        settings.weight_decay, mask=lambda params: decays(params, segment.decayed)
    )
    if segment.optimizer == "sgd":
        rule = [decay, optax.trace(decay=settings.momentum)]
    else:
        rule = [optax.scale_by_adam(*ADAM_BETAS), decay]
    by_stage = optax.stateless(
        lambda updates, _: jax.tree.map(
            lambda update, factor: update * factor,
            updates,
            rate_factors(updates, segment.layer_decay),
        )
    )
    staged = [] if segment.layer_decay == 1.0 else [by_stage]
    return (
        optax.chain(*clipping, *rule, *staged, optax.scale_by_learning_rate(schedule)),
        schedule,
    )


def make_schedule(settings: TrainConfig, segment: SegmentConfig, steps: int) -> optax.Schedule:
    """The rate by the steps done before, of ``steps``."""
    last = settings.final_learning_rate

    def schedule(step: Any) -> jax.Array:
        left = 1.0 - jnp.asarray(step, jnp.float32) / steps
        rate = last + (settings.learning_rate - last) * jnp.maximum(left, 0.0) ** segment.power
        done = jnp.minimum(step / max(segment.warmup_steps, 1), 1.0)
        share = segment.warmup_factor + (1.0 - segment.warmup_factor) * done
        return jnp.where(step < segment.warmup_steps, share * rate, rate)

    return schedule


def decays(params: Any, which: str) -> Any:
    """True for every parameter that decays, in the structure of ``params``.

    Args:
        params: nested dicts.
        which: ``all``; ``matrices``, the kernels; ``no_norms``, what stands beside a kernel too.
    """

    def mark(tree: Any, beside_kernel: bool, name: Any) -> Any:
        if isinstance(tree, dict):
            return {key: mark(value, "kernel" in tree, key) for key, value in tree.items()}
        return which == "all" or (beside_kernel if which == "no_norms" else name == "kernel")

    return mark(params, False, None)


def rate_factors(params: Any, layer_decay: float) -> Any:
    """Every parameter's factor of the rate, in the structure of ``params`` of a `Segmenter`."""
    net = params["backbone"]["net"]
    stages = net["stages"]
    lowest = len(stages) + 3

    def even(tree: Any, power: int) -> Any:
        return jax.tree.map(lambda _: layer_decay**power, tree)

    def of_stage(stage: dict[str, Any], place: int) -> Any:
        power = lowest - 1 - place
        factors = even(stage, power)
        layers = stage["first"]["layers"]
        if BETWEEN in layers:
            for name in (BETWEEN, "main1_conv"):
                factors["first"]["layers"][name] = even(layers[name], lowest)
        return factors

    backbone = {name: even(part, lowest) for name, part in net.items()}
    # What follows the last stage belongs to it.
    if "final" in net:
        backbone["final"] = even(net["final"], 3)
    backbone["stages"] = {key: of_stage(stage, int(key)) for key, stage in stages.items()}
    heads = {name: even(part, 0) for name, part in params.items() if name != "backbone"}
    return {"backbone": {"net": backbone}, **heads}
