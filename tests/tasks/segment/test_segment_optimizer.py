import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_segment_job import CONFIG

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import TrainConfig
from deepmad_jax.tasks.segment.optimizer import (
    decays,
    make_optimizer,
    make_schedule,
    rate_factors,
)
from deepmad_jax.tasks.segment.segmenter import make_segmenter
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import Plan

TRAIN = TrainConfig(
    learning_rate=0.1,
    final_learning_rate=0.001,
    weight_decay=0.05,
    warmup_epochs=0,
    cooldown_epochs=0,
    zero_init=False,
    dtype="float32",
)
STEPS = 20
PLAN = dataclasses.replace(Plan.of(TRAIN, 100), total_steps=STEPS)

# Four stages of ConvNeXt's kind, as the stage-wise rates are told for.
CONVNEXT = Architecture(
    "tiny",
    64,
    3,
    10,
    Stem(8, 4, 4, "patch"),
    tuple(Stage("convnext", 8, 16, 7, 2, 1 + (i > 0)) for i in range(4)),
)


def config_of(**fields):
    segment = dataclasses.replace(CONFIG.segment, **fields)
    return dataclasses.replace(CONFIG, train=TRAIN, segment=segment)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_steps_are_pytorchs(kind):
    torch = pytest.importorskip("torch")
    config = config_of(optimizer=kind, power=0.9, warmup_steps=5, warmup_factor=0.1)
    optimizer, schedule = make_optimizer(config, PLAN)
    rng = np.random.default_rng(0)
    start = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    gradients = [{k: rng.normal(size=v.shape) for k, v in start.items()} for _ in range(STEPS)]

    theirs = {k: torch.tensor(v, dtype=torch.float64) for k, v in start.items()}
    make = torch.optim.SGD if kind == "sgd" else torch.optim.AdamW
    more = {"momentum": 0.9} if kind == "sgd" else {}
    rule = make(list(theirs.values()), lr=1.0, weight_decay=0.05, **more)
    ours = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), start)
    state = optimizer.init(ours)
    for step, gradient in enumerate(gradients):
        for group in rule.param_groups:
            group["lr"] = float(schedule(step))
        for name, value in theirs.items():
            value.grad = torch.tensor(gradient[name])
        rule.step()
        given = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradient)
        updates, state = optimizer.update(given, state, ours)
        ours = optax.apply_updates(ours, updates)
    for name, value in theirs.items():
        # Twenty steps in float32.
        np.testing.assert_allclose(ours[name], value.numpy(), rtol=1e-4, atol=1e-5)


def test_rate_is_mmcvs_poly_with_its_linear_warmup():
    segment = dataclasses.replace(CONFIG.segment, power=0.9, warmup_steps=4, warmup_factor=1e-3)
    schedule = make_schedule(TRAIN, segment, STEPS)
    for step in range(STEPS):
        poly = (0.1 - 0.001) * (1 - step / STEPS) ** 0.9 + 0.001
        if step < 4:
            poly *= 1 - (1 - step / 4) * (1 - 1e-3)
        assert float(schedule(step)) == pytest.approx(poly, rel=1e-5)
    assert float(schedule(STEPS)) == pytest.approx(0.001)


def test_what_decays_is_told_by_what_it_is():
    params = {
        "conv": {"kernel": 1, "bias": 2},
        "norm": {"scale": 3, "bias": 4},
        "table": 5,
    }
    everything = jax.tree.map(lambda _: True, params)
    assert decays(params, "all") == everything
    kernels = {"conv": {"kernel": True, "bias": False}}
    rest = {"norm": {"scale": False, "bias": False}, "table": False}
    assert decays(params, "matrices") == kernels | rest
    assert decays(params, "no_norms") == {"conv": {"kernel": True, "bias": True}} | rest


def test_rates_by_stage_are_mmsegmentations_for_convnext():
    # Its groups of num_layers=6: patches and what lies between stages 0.9^7, stages 0.9^6 to
    # 0.9^3, norms of the maps and heads 1.
    net = make_segmenter(CONVNEXT, config_of(norm_maps=True), True)
    _, params, _ = split_network(net)
    factors = rate_factors(params, 0.9)
    assert jax.tree.structure(factors) == jax.tree.structure(params)
    backbone = factors["backbone"]["net"]
    assert set(jax.tree.leaves(backbone["stem"])) == {0.9**7}
    for i in range(4):
        stage = backbone["stages"][i]
        assert set(jax.tree.leaves(stage["rest"])) == {0.9 ** (6 - i)}
        first = stage["first"]["layers"]
        own = {name: set(jax.tree.leaves(values)) for name, values in first.items()}
        between = {name for name, values in own.items() if values == {0.9**7}}
        assert between == ({"main0_layer_norm", "main1_conv"} if i else set())
        others = set().union(*(own[name] for name in own.keys() - between))
        assert others == {0.9 ** (6 - i)}
    assert all(x == 1 for x in jax.tree.leaves((factors["norms"], factors["head"])))


def test_stage_factors_scale_steps_and_decay_alike():
    net = make_segmenter(CONVNEXT, config_of(), True)
    _, params, _ = split_network(net)
    steps = []
    for decay in (1.0, 0.5):
        optimizer, _ = make_optimizer(config_of(optimizer="adamw", layer_decay=decay), PLAN)

        def one_step(params, optimizer=optimizer):
            gradients = jax.tree.map(jnp.ones_like, params)
            return optimizer.update(gradients, optimizer.init(params), params)[0]

        steps.append(jax.jit(one_step)(params))
    wanted = jax.tree.map(lambda x, f: x * f, steps[0], rate_factors(params, 0.5))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), steps[1], wanted)
