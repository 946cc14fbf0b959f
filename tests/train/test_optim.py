import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.config import TrainConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.train import Plan, make_optimizer, make_schedule
from deepmad_jax.train.optim import block_shares, decay_mask

RECIPE = TrainConfig(
    epochs=100, batch_size=10, learning_rate=0.8, warmup_epochs=20, cooldown_epochs=10
)


def rates(config, num_images=50):
    plan = Plan.of(config, num_images)
    schedule = make_schedule(config, plan)
    return np.array([float(schedule(step)) for step in range(plan.total_steps)])


def test_rate_warms_up_linearly_follows_a_cosine_and_stays_at_the_end():
    values = rates(RECIPE)
    assert len(values) == 550
    rising = 1e-5 + (0.8 - 1e-5) * np.arange(100) / 100
    np.testing.assert_allclose(values[:100], rising, rtol=1e-5, atol=1e-7)
    cosine = [0.5 * (1 + math.cos(math.pi * t / 500)) for t in range(100, 500)]
    expected = 1e-5 + (0.8 - 1e-5) * np.array(cosine)
    np.testing.assert_allclose(values[100:500], expected, rtol=1e-5, atol=1e-7)  # float32
    np.testing.assert_allclose(values[500:], 1e-5, rtol=1e-5)


def test_rate_without_warm_up_starts_at_its_peak():
    config = dataclasses.replace(RECIPE, warmup_epochs=0, cooldown_epochs=0)
    values = rates(config)
    assert values[0] == pytest.approx(0.8)
    assert values[-1] < 1e-4
    assert (np.diff(values) <= 0).all()


def test_final_rate_above_the_peak_is_refused():
    with pytest.raises(InvalidConfig, match=r"final_learning_rate is 1\.0"):
        rates(dataclasses.replace(RECIPE, final_learning_rate=1.0))


def test_only_kernels_decay():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(2, rngs=rngs)
            self.head = nnx.Linear(2, 2, rngs=rngs)

    params = nnx.to_pure_dict(nnx.state(Net(nnx.Rngs(0)), nnx.Param))
    assert decay_mask(params) == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "head": {"kernel": True, "bias": False},
    }


def test_stacked_norms_do_not_decay_though_they_have_two_axes():
    mask = decay_mask({"rest": {"norm": {"scale": jnp.ones((3, 8)), "bias": jnp.ones((3, 8))}}})
    assert mask == {"rest": {"norm": {"scale": False, "bias": False}}}


def test_update_is_nesterov_with_decay_in_the_gradient():
    config = TrainConfig(
        epochs=10,
        batch_size=10,
        learning_rate=0.3,
        final_learning_rate=0.3,
        warmup_epochs=0,
        cooldown_epochs=0,
        momentum=0.9,
        weight_decay=0.01,
    )
    optimizer = make_optimizer(config, make_schedule(config, Plan.of(config, 100)))
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=4)), "bias": jnp.asarray(rng.normal(size=4))}
    state = optimizer.init(params)
    ours = {name: np.asarray(value, float) for name, value in params.items()}
    velocity = {name: np.zeros(4) for name in params}
    for _ in range(5):
        grads = {name: rng.normal(size=4).astype(np.float32) for name in params}
        updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for name, grad in grads.items():
            d = grad + (0.01 if name == "kernel" else 0) * ours[name]
            velocity[name] = 0.9 * velocity[name] + d
            ours[name] = ours[name] - 0.3 * (d + 0.9 * velocity[name])
    for name, value in ours.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-5)


def test_epochs_become_the_nearest_steps():
    # 1,281,167 images at 2048 a step are 625.57 steps an epoch.
    plan = Plan.of(TrainConfig(), 1_281_167)
    assert plan.total_steps == 306_530  # 490 epochs: the cool-down comes after the 480
    assert plan.warmup_steps == 12_511
    assert plan.cooldown_steps == 6_256
    saves = [step for step in range(1, 2000) if plan.saves_at(step)]
    assert saves == [626, 1251, 1877]
    assert plan.saves_at(306_530)
    assert plan.evaluates_at(306_530)


def test_rhythm_faster_than_a_step_means_every_step():
    plan = Plan.of(dataclasses.replace(RECIPE, eval_every_epochs=0.01), 50)
    assert all(plan.evaluates_at(step) for step in range(1, 551))


def test_every_checkpoint_closes_a_log_window():
    plan = Plan.of(dataclasses.replace(RECIPE, log_every_steps=7), 50)
    assert all(plan.logs_at(step) for step in range(1, 501) if plan.saves_at(step) or step % 7 == 0)


def test_a_warm_up_that_leaves_nothing_is_refused():
    with pytest.raises(InvalidConfig, match=r"warmup_epochs=20 leaves nothing of epochs=1:"):
        TrainConfig(epochs=1)


def plain(optimizer, **changes):
    """Settings at a constant rate, without warm-up."""
    numbers = {"epochs": 10, "batch_size": 10, "learning_rate": 0.01, "final_learning_rate": 0.01}
    ends = {"warmup_epochs": 0, "cooldown_epochs": 0}
    return TrainConfig(**(numbers | ends | {"optimizer": optimizer, "weight_decay": 0.1} | changes))


def moved(config, params, gradients):
    """The params after a step for each of the gradients."""
    optimizer = make_optimizer(config, make_schedule(config, Plan.of(config, 100)))
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def test_adamw_with_clipping_and_decay_on_kernels_is_pytorchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    start = {name: rng.normal(size=(4, 3)).astype(np.float32) for name in ("kernel", "bias")}
    gradients = [
        {name: 3 * rng.normal(size=(4, 3)).astype(np.float32) for name in start} for _ in range(5)
    ]
    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    groups = [
        {"params": [theirs["kernel"]], "weight_decay": 0.1},
        {"params": [theirs["bias"]], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    for gradient in gradients:
        for name, value in gradient.items():
            theirs[name].grad = torch.tensor(value)
        torch.nn.utils.clip_grad_norm_(theirs.values(), 2.0)
        optimizer.step()
    ours = moved(plain("adamw", clip_norm=2.0), start, gradients)
    for name, value in theirs.items():
        # Five float32 steps of 0.01 in two orders of operations; seen 1e-7.
        np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=0, atol=1e-6)


def test_lion_moves_by_signs_and_lamb_in_proportion_to_the_norm_of_a_weight():
    params = {"kernel": jnp.array([3.0, -4.0]), "bias": jnp.array([1.0, 1.0])}
    gradient = {"kernel": jnp.array([2.0, -0.5]), "bias": jnp.array([1e-3, 1.0])}
    lion = moved(plain("lion"), params, [gradient])
    # A kernel also decays by rate * decay of itself, here 0.001.
    np.testing.assert_allclose(lion["kernel"], [3.0 - 0.01 - 0.003, -4.0 + 0.01 + 0.004], rtol=1e-6)
    np.testing.assert_allclose(lion["bias"], [0.99, 0.99], rtol=1e-6)
    lamb = moved(plain("lamb", weight_decay=0.0), params, [gradient])
    length = np.linalg.norm(np.asarray(lamb["kernel"] - params["kernel"]))
    assert length == pytest.approx(0.01 * 5.0, rel=1e-4)


def test_lamb_moves_stacked_blocks_as_each_by_itself():
    rng = np.random.default_rng(0)
    blocks = [{"kernel": rng.normal(size=(3, 2)).astype(np.float32) * 10**i} for i in range(3)]
    gradients = [{"kernel": rng.normal(size=(3, 2)).astype(np.float32)} for _ in range(2)]
    stack = {"rest": jax.tree.map(lambda *arrays: jnp.stack(arrays), *blocks)}
    same = [jax.tree.map(lambda g: jnp.stack([g] * 3), {"rest": g}) for g in gradients]
    together = moved(plain("lamb"), stack, same)["rest"]["kernel"]
    for i, block in enumerate(blocks):
        alone = moved(plain("lamb"), block, gradients)["kernel"]
        np.testing.assert_allclose(together[i], alone, rtol=1e-5)
    first = {"first": stack["rest"]}  # not a stack: by the norm of all of it
    whole = moved(plain("lamb"), first, [{"first": g["rest"]} for g in same])["first"]["kernel"]
    assert np.abs(whole - together).max() > 0.01


def test_positions_decay_only_where_asked_for_and_tokens_and_bias_tables_never():
    params = {
        "main1_position": {"table": 0, "token": 0},
        "main2_window_attention": {"table": 0},
        "main1_conv": {"kernel": 0},
    }
    for asked in (False, True):
        mask = decay_mask(params, asked)
        assert mask["main1_position"] == {"table": asked, "token": False}
        assert mask["main2_window_attention"] == {"table": False}
        assert mask["main1_conv"] == {"kernel": True}


def test_every_block_has_its_share_of_the_rate_stacked_or_not():
    params = {
        "stem": {"kernel": jnp.zeros(2)},
        "stages": {
            0: {"first": {"kernel": jnp.zeros(2)}, "rest": {"kernel": jnp.zeros((2, 3))}},
            1: {"first": {"kernel": jnp.zeros(2)}},
        },
        "head": {"kernel": jnp.zeros(2)},
    }
    shares = block_shares(params, 0.5)
    assert float(shares["head"]["kernel"]) == 1.0
    assert float(shares["stages"][1]["first"]["kernel"]) == 0.5
    np.testing.assert_array_equal(shares["stages"][0]["rest"]["kernel"], [[0.125], [0.25]])
    assert float(shares["stages"][0]["first"]["kernel"]) == 0.0625
    assert float(shares["stem"]["kernel"]) == 0.03125
    # And the rate is what is shared: Lion's first step is the rate, whatever the gradient.
    ones = jax.tree.map(jnp.ones_like, params)
    config = plain("lion", weight_decay=0.0, layer_decay=0.5)
    after = moved(config, params, [ones])
    np.testing.assert_allclose(after["stages"][1]["first"]["kernel"], -0.005, rtol=1e-6)
    np.testing.assert_allclose(after["stem"]["kernel"], -0.01 * 0.03125, rtol=1e-6)
