import dataclasses
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.train import (
    check_batch_size,
    make_mesh,
    padded_batch_size,
    sum_over_batches,
    to_device,
    variables_for_evaluation,
)
from deepmad_jax.train.state import updated_average


def run_steps(parts, count):
    state, stream, losses = parts.state(), tiny.batches(), []
    for _ in range(count):
        state, metrics = parts.train_step(state, to_device(parts.mesh, next(stream)))
        losses.append(float(metrics["loss"]))
    return state, losses


def test_step_is_traced_once():
    parts = tiny.make()
    state, _ = run_steps(parts, 4)
    assert int(state.step) == 4
    assert parts.loss_fn.traces == 1
    assert parts.train_step._cache_size() == 1
    # A state that comes from elsewhere (a checkpoint, another run) is no reason to compile either.
    run_steps(parts, 2)
    assert parts.train_step._cache_size() == 1


def test_evaluation_step_is_traced_once(parts):
    variables = variables_for_evaluation(parts.state())
    for _ in range(2):
        sum_over_batches(parts.eval_step, variables, [next(tiny.batches())] * 3, parts.mesh)
    assert parts.eval_step._cache_size() == 1


def test_loss_falls(parts):
    _, losses = run_steps(parts, 20)
    assert losses[-1] < 0.6 * losses[0]


def test_state_is_donated(parts):
    state = parts.state()
    parts.train_step(state, to_device(parts.mesh, next(tiny.batches())))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_steps_make_no_implicit_transfers(parts):
    state, stream = parts.state(), tiny.batches()
    state, _ = parts.train_step(state, to_device(parts.mesh, next(stream)))
    with jax.transfer_guard("disallow"):
        state, metrics = parts.train_step(state, to_device(parts.mesh, next(stream)))
        jax.device_get(metrics)


def test_metrics_hold_the_rate_and_the_norm_of_the_gradients(parts):
    state, stream = parts.state(), tiny.batches()
    grad_fn = jax.jit(jax.grad(parts.loss_fn, has_aux=True))
    for step in range(3):
        batch = next(stream)
        grads, _ = grad_fn(state.params, state.batch_stats, batch, jax.random.key(0))
        norm = np.sqrt(sum((leaf.astype(float) ** 2).sum() for leaf in tiny.leaves(grads).values()))
        state, metrics = parts.train_step(state, to_device(parts.mesh, batch))
        assert float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-5)
        rate = 1e-5 + (0.1 - 1e-5) * step / 5
        assert float(metrics["learning_rate"]) == pytest.approx(rate, rel=1e-2)  # float32 of 1e-5


def test_one_and_eight_devices_give_the_same_parameters_after_three_steps(tmp_path):
    file = tmp_path / "eight.npz"
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    subprocess.run([sys.executable, tiny.__file__, file], env=environment, check=True, timeout=120)
    eight = dict(np.load(file))
    assert eight.pop("devices") == 8
    assert not len(eight.pop("shards"))
    assert len(make_mesh(jax.devices()[:1]).devices) == 1
    one = tiny.three_steps()
    assert one.keys() == eight.keys()
    for name, value in one.items():
        # BatchNorm over an eighth of the batch would differ in the first digit.
        np.testing.assert_allclose(eight[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_average_follows_its_recurrence():
    parts = tiny.make(dataclasses.replace(tiny.CONFIG, ema_decay=0.5))
    state, stream = parts.state(), tiny.batches()
    expected = tiny.leaves((state.params, state.batch_stats))
    for step in range(8):
        state, _ = parts.train_step(state, to_device(parts.mesh, next(stream)))
        share = min(0.5, (1 + step) / (10 + step))
        for name, value in tiny.leaves((state.params, state.batch_stats)).items():
            expected[name] = share * expected[name] + (1 - share) * value
    averages = tiny.leaves(variables_for_evaluation(state))
    assert averages.keys() == expected.keys()
    for name, value in averages.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-7)
    moved = tiny.leaves((state.params, state.batch_stats))
    assert not any(np.allclose(averages[name], moved[name]) for name in moved)


def test_average_reaches_its_decay_in_the_long_run():
    new = updated_average({"w": np.float32(1)}, {"w": np.float32(0)}, np.int32(10**6), 0.999)
    assert float(new["w"]) == pytest.approx(0.999)


def test_without_averages_the_parameters_themselves_are_evaluated(parts):
    state = parts.state()
    params, batch_stats = variables_for_evaluation(state)
    assert params is state.params
    assert batch_stats is state.batch_stats


def test_sums_over_batches_are_those_of_all_images_at_once(parts):
    state, _ = run_steps(parts, 3)
    variables = variables_for_evaluation(state)
    stream = tiny.batches()
    many = [next(stream) for _ in range(5)]
    merged = {name: np.concatenate([b[name] for b in many]) for name in many[0]}
    sums = sum_over_batches(parts.eval_step, variables, many, parts.mesh)
    expected = jax.device_get(tiny.sums_fn(*jax.device_get(variables), merged))
    assert sums == {name: float(value) for name, value in expected.items()}
    assert sums["images"] == 80


@pytest.mark.parametrize("batch_size", [0, -1])
def test_training_batch_that_devices_cannot_share_is_refused(batch_size):
    with pytest.raises(InvalidConfig, match=f"batch_size is {batch_size}.*such as 1"):
        check_batch_size(make_mesh(), batch_size)


def test_padded_batch_size_is_the_next_multiple_of_the_devices():
    class Eight:
        size = 8

    assert [padded_batch_size(Eight, n) for n in (1, 8, 9, 100)] == [8, 8, 16, 104]
    with pytest.raises(InvalidConfig, match=r"8 device.*multiple of 8, such as 104"):
        check_batch_size(Eight, 100)
