import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deepmad_jax.config import Config, DetectConfig, TrainConfig
from deepmad_jax.tasks.detect.optimizer import biases, make_optimizer, make_schedule
from deepmad_jax.train import Plan

torch = pytest.importorskip("torch")

TRAIN = TrainConfig(
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=0.05,
    epochs=4,
    batch_size=4,
    warmup_epochs=0,
    cooldown_epochs=0,
)
PARAMS = {
    "conv": {"kernel": np.array([1.0, -2.0]), "bias": np.array([0.5])},
    "norms": {0: {"scale": np.array([1.5]), "bias": np.array([-0.3])}},
    "factors": {0: np.array(1.1)},
}


def test_biases_of_norms_are_none():
    assert biases(PARAMS) == {
        "conv": {"kernel": False, "bias": True},
        "norms": {0: {"scale": False, "bias": False}},
        "factors": {0: False},
    }


@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize(
    "detect",
    [
        DetectConfig(warmup_steps=2, drop_epochs=(2.0,)),  # FCOS's
        DetectConfig(bias_rate=1.0, bias_decays=True, warmup_steps=0, drop_epochs=()),  # GFL's
    ],
)
def test_steps_are_pytorchs(detect, clip):
    config = Config(detect=detect, train=dataclasses.replace(TRAIN, clip_norm=clip))
    plan = Plan.of(config.train, num_images=8)  # 2 steps an epoch
    optimizer, schedule = make_optimizer(config, plan)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)
    state = optimizer.init(params)

    theirs = [torch.tensor(x, dtype=torch.float32) for x in jax.tree.leaves(params)]
    special = jax.tree.leaves(biases(params))
    decays = [0.05 if detect.bias_decays or not is_bias else 0.0 for is_bias in special]
    factors = [detect.bias_rate if is_bias else 1.0 for is_bias in special]
    groups = [
        {"params": [p.requires_grad_()], "weight_decay": decay}
        for p, decay in zip(theirs, decays, strict=True)
    ]
    sgd = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    rng = np.random.default_rng(0)
    for step in range(8):
        grads = [rng.normal(size=p.shape).astype(np.float32) for p in theirs]
        updates, state = optimizer.update(
            jax.tree.unflatten(jax.tree.structure(params), map(jnp.asarray, grads)), state, params
        )
        params = optax.apply_updates(params, updates)
        for p, grad, group, factor in zip(theirs, grads, sgd.param_groups, factors, strict=True):
            p.grad = torch.tensor(grad)
            group["lr"] = float(schedule(step)) * factor
        if clip:
            torch.nn.utils.clip_grad_norm_(theirs, clip)
        sgd.step()
        for ours, other in zip(jax.tree.leaves(params), theirs, strict=True):
            np.testing.assert_allclose(ours, other.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_rate_is_mmcvs_over_a_run():
    # mmcv: constant is rate * ratio; linear is rate * (1 - (1 - t / steps) * (1 - ratio)).
    steps_per_epoch, peak = 10.5, 0.02
    for warmup, ratio in (("constant", 1 / 3), ("linear", 0.001)):
        detect = DetectConfig(
            warmup=warmup, warmup_factor=ratio, warmup_steps=8, drop_epochs=(2.0, 3.0)
        )
        schedule = make_schedule(detect, peak, steps_per_epoch)
        for step in range(40):
            rate = peak * 0.1 ** sum(step >= round(e * steps_per_epoch) for e in (2, 3))
            if step < 8:
                rate *= ratio if warmup == "constant" else 1 - (1 - step / 8) * (1 - ratio)
            np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)
