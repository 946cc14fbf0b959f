"""SGD as TSN is trained by it, and its rate: steps down after some epochs, no warm-up.

Optimisers other than SGD are those of classification (`train.optim`), at that rate. SGD is plain:
as PyTorch counts: ``d = g + decay * w``, ``v <- momentum * v + d``, ``w <- w - rate * v``, where g
is clipped by its norm over all parameters; all of them decay.

Source: mmaction2's schedules of TSN.
"""

import optax

from deepmad_jax.config import Config, TrainConfig, VideoConfig
from deepmad_jax.train import Plan
from deepmad_jax.train import make_optimizer as make_other


def make_optimizer(
    config: Config, plan: Plan
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """What makes a step of a gradient, and its rate by the steps done before."""
    settings: TrainConfig = config.train
    video: VideoConfig = config.video
    drops = {round(epoch * plan.steps_per_epoch): video.drop_factor for epoch in video.drop_epochs}
    schedule = optax.piecewise_constant_schedule(settings.learning_rate, drops)
    if settings.optimizer != "sgd":
        return make_other(settings, schedule, plan.total_steps), schedule
    clipping = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    optimizer = optax.chain(
        *clipping,
        optax.add_decayed_weights(settings.weight_decay),
        optax.trace(decay=settings.momentum),
        optax.scale_by_learning_rate(schedule),
    )
    return optimizer, schedule
