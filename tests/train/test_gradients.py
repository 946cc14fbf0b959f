"""Pieces, groups, split states, rematerialisation and clipping against their definitions."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.train import make_mesh, make_optimizer, state_sharding, to_device
from deepmad_jax.train.gradients import make_gradient_fn
from deepmad_jax.train.step import step_key


def plain_loss(params, batch_stats, batch, key):
    """Without BatchNorm: a linear net on the pixels, with noise from the key."""
    pixels = batch["image"].reshape(len(batch["image"]), -1)
    logits = pixels @ params["kernel"] + jax.random.normal(key, (2,))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
    return loss, (batch_stats, {"size": jnp.float32(len(pixels))})


def pieces_of(batch, count):
    return [{name: value[k::count] for name, value in batch.items()} for k in range(count)]


def test_accumulated_gradient_without_batch_norm_is_that_of_the_whole_batch():
    mesh = make_mesh()
    params = {"kernel": jax.random.normal(jax.random.key(0), (64, 2))}
    batch = to_device(mesh, next(tiny.batches()))

    def noiseless(params, batch_stats, batch, key):
        return plain_loss(params, batch_stats, batch, jax.random.key(7))

    whole = make_gradient_fn(noiseless, mesh)(params, {}, batch, jax.random.key(1))
    parts = make_gradient_fn(noiseless, mesh, accumulate=4)(params, {}, batch, jax.random.key(1))
    np.testing.assert_allclose(parts[1]["kernel"], whole[1]["kernel"], rtol=1e-5, atol=1e-7)
    assert float(parts[0][0]) == pytest.approx(float(whole[0][0]), rel=1e-6)
    assert float(parts[0][1][1]["size"]) == 4


def test_pieces_draw_different_numbers():
    mesh = make_mesh()
    params = {"kernel": jnp.zeros((64, 2))}
    same = {"image": np.zeros((16, 8, 8, 1), np.float32), "label": np.zeros(16, np.int32)}
    key = jax.random.key(1)
    gradient_fn = make_gradient_fn(plain_loss, mesh, accumulate=2)
    loss = float(gradient_fn(params, {}, to_device(mesh, same), key)[0][0])
    each = [float(plain_loss(params, {}, same, jax.random.fold_in(key, k))[0]) for k in range(2)]
    assert each[0] != each[1]
    assert loss == pytest.approx(np.mean(each), rel=1e-6)


def test_accumulated_batch_norm_moves_once_a_piece_by_its_own_statistics():
    graphdef, params, batch_stats = tiny.variables()
    loss_fn, mesh = tiny.CountedLoss(graphdef), make_mesh()
    batch, key = next(tiny.batches()), jax.random.key(0)
    gradient_fn = jax.jit(make_gradient_fn(loss_fn, mesh, accumulate=2))
    plain = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (_, (stats, _)), grads = gradient_fn(params, batch_stats, to_device(mesh, batch), key)
    expected, expected_grads = batch_stats, []
    for piece in pieces_of(batch, 2):
        (_, (expected, _)), some = plain(params, expected, piece, key)
        expected_grads.append(some)
    for name, value in tiny.leaves(expected).items():
        np.testing.assert_allclose(tiny.leaves(stats)[name], value, rtol=1e-5, atol=1e-7)
    mean = jax.tree.map(lambda *g: sum(g) / 2, *expected_grads)
    for name, value in tiny.leaves(mean).items():
        np.testing.assert_allclose(tiny.leaves(grads)[name], value, rtol=1e-4, atol=1e-6)


def test_grouped_batch_norm_is_that_of_devices_on_their_own():
    graphdef, params, batch_stats = tiny.variables()
    loss_fn, mesh = tiny.CountedLoss(graphdef), make_mesh()
    batch, key = next(tiny.batches()), jax.random.key(0)
    gradient_fn = jax.jit(make_gradient_fn(loss_fn, mesh, groups=4))
    plain = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, (stats, _)), grads = gradient_fn(params, batch_stats, to_device(mesh, batch), key)
    each = [
        plain(params, batch_stats, {n: v[4 * k : 4 * k + 4] for n, v in batch.items()}, key)
        for k in range(4)
    ]
    (one_loss, (one_stats, _)), one_grads = jax.tree.map(lambda *x: sum(x) / 4, *each)
    assert float(loss) == pytest.approx(float(one_loss), rel=1e-5)
    ours, others = tiny.leaves((stats, grads)), tiny.leaves((one_stats, one_grads))
    for name, value in others.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    (whole_loss, _), _ = plain(params, batch_stats, batch, key)
    assert abs(float(whole_loss) - float(loss)) > 1e-3


def test_clipping_scales_the_gradients_of_a_step_to_the_norm():
    config = dataclasses.replace(tiny.CONFIG, clip_norm=0.5, momentum=0.0, weight_decay=0.0)
    optimizer = make_optimizer(config, optax.constant_schedule(1.0))
    grads = {"kernel": jnp.array([3.0, 0.0]), "bias": jnp.array([4.0])}
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    np.testing.assert_allclose(updates["kernel"], [-0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], [-0.4], rtol=1e-6)


def test_keys_differ_by_step_and_seed_and_are_made_anew():
    seen = {
        tuple(jax.random.key_data(step_key(seed, jnp.int32(step))).tolist())
        for seed in range(3)
        for step in range(5)
    }
    assert len(seen) == 15
    again = jax.random.key_data(step_key(2, jnp.int32(4)))
    assert tuple(again.tolist()) in seen


def test_state_split_over_eight_devices_trains_as_on_one(tmp_path):
    file = tmp_path / "eight.npz"
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, tiny.__file__, file, "fsdp=4", "ema_decay=0.9"]
    subprocess.run(command, env=environment, check=True, timeout=240)
    eight = dict(np.load(file))
    assert eight.pop("devices") == 8
    # Four arrays of parameters, their momenta and averages, two of statistics and theirs; all but
    # the head's bias, of two numbers, and the step.
    assert eight.pop("shards").tolist() == [4] * 16
    one = tiny.three_steps(dataclasses.replace(tiny.CONFIG, ema_decay=0.9))
    assert one.keys() == eight.keys()
    for name, value in one.items():
        np.testing.assert_allclose(eight[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"accumulate_steps": 3}, "accumulate_steps=3"),
        ({"batch_norm_groups": 5}, "batch_norm_groups=5"),
        ({"drop_path": 1.0}, "drop_path is 1.0"),
        ({"prefetch": 0}, "prefetch is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(InvalidConfig, match=words):
        dataclasses.replace(tiny.CONFIG, **fields)


def test_fsdp_that_does_not_divide_the_devices_is_refused():
    with pytest.raises(InvalidConfig, match=r"fsdp is 3, which does not divide 1 device"):
        make_mesh(fsdp=3)


def test_state_of_one_device_is_whole():
    parts = tiny.make()
    shardings = jax.tree.leaves(state_sharding(parts.mesh, parts.state()))
    assert all(sharding.is_fully_replicated for sharding in shardings)
