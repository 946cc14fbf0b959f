"""What stands beside a training: range test, mean of checkpoints, few batches, counted starts."""

import dataclasses
import json
import math

import grain
import jax
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

from deepmad_jax import library
from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, RatesConfig, TrainConfig, WatchConfig
from deepmad_jax.errors import InvalidConfig, UserError
from deepmad_jax.interop import from_network
from deepmad_jax.jobs.training import train
from deepmad_jax.jobs.trials import average, rates
from deepmad_jax.report.rates import rates_figure
from deepmad_jax.tasks.rates import _with_schedule, read, smoothed
from deepmad_jax.train import FirstBatches, count_start

ARCH = Architecture("tiny", 8, 1, 6, Stem(8, 3, 1), (Stage("basic", 8, 8, 3, 1, 1),))
CONFIG = Config(
    name="tiny",
    architecture="tiny.json",
    data=DataConfig(source="fake", train_augment="shift", fake_images=160),
    train=TrainConfig(
        epochs=3,
        batch_size=32,
        learning_rate=0.1,
        warmup_epochs=0,
        cooldown_epochs=0,
        dtype="float32",
        overfit_batches=1,
        eval_every_epochs=9,
        log_every_steps=1,
    ),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 15 steps, all on one batch, with checkpoints of steps 5, 10 and 15."""
    workdir = tmp_path_factory.mktemp("trained")
    path = workdir / "tiny.json"
    path.write_text(ARCH.to_json())
    config = dataclasses.replace(CONFIG, architecture=str(path))
    train(config, workdir)
    return config, workdir


def lines_of(workdir, split):
    lines = [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


def test_one_batch_is_learned_by_heart(trained):
    losses = [line["loss"] for line in lines_of(trained[1], "train")]
    assert len(losses) == 15
    # Of new batches some would be harder than the one before.
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_mean_of_checkpoints_is_evaluated_and_written_as_weights(trained, capsys):
    config, workdir = trained
    average(config, workdir)
    said = capsys.readouterr().out
    assert said.startswith("The mean of steps 5, 10, 15: top-1")
    (line,) = lines_of(workdir, "average")
    assert line["averaged_steps"] == [5, 10, 15]
    assert (line["images"], line["step"]) == (20, 15)
    # Each checkpoint by itself, through the library.
    every = []
    for step in (5, 10, 15):
        one = workdir / f"only{step}"
        one.mkdir()
        (one / "architecture.json").write_text(ARCH.to_json())
        (one / "checkpoints").mkdir()
        (one / "checkpoints" / str(step)).symlink_to(workdir / "checkpoints" / str(step))
        every.append(from_network(library.load(one)))
    mean = load_file(workdir / "averaged.safetensors")
    assert mean.keys() == every[0].keys()
    for name, value in mean.items():
        expected = np.mean([np.float64(arrays[name]) for arrays in every], axis=0)
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-8, err_msg=name)
    assert not np.allclose(mean["fc_linear.weight"], every[-1]["fc_linear.weight"])


def test_more_checkpoints_than_there_are_cannot_be_averaged(trained):
    config, workdir = trained
    with pytest.raises(UserError, match=r"average is 4.*holds 3 checkpoint"):
        average(dataclasses.replace(config, average=4), workdir)


def test_only_classifiers_are_averaged(trained):
    config, workdir = trained
    with pytest.raises(InvalidConfig, match="only a classifier's"):
        average(dataclasses.replace(config, task="detect"), workdir)


def test_range_test_finds_where_the_loss_falls_and_explodes(trained, tmp_path, capsys):
    config = dataclasses.replace(
        trained[0], rates=RatesConfig(low=1e-4, high=1e4, steps=24), jobs=("rates",)
    )
    rates(config, tmp_path)
    found = json.loads((tmp_path / "rates.json").read_text())
    # Each rate is the one before times one factor.
    steps = np.diff(np.log(found["rates"]))
    np.testing.assert_allclose(steps, math.log(1e8) / 23, rtol=1e-4)
    assert 1e-4 < found["steepest"] < found["least"] < 1e4
    assert f"{found['steepest']:.2g}" in capsys.readouterr().out
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "checkpoints").exists()


def test_rate_of_steepest_fall_and_least_loss_are_read_off_a_known_curve():
    # Flat, then a straight fall in the logarithm, steepest at once, then a rise.
    tried = list(np.geomspace(1e-3, 1e3, 61))
    losses = [3.0 if r < 0.1 else 1.0 + abs(math.log10(r) - 1.0) for r in tried]
    found = read(tried, losses)
    smooth = np.array(smoothed(losses))
    assert found.least == tried[int(smooth.argmin())]
    slopes = np.diff(smooth) / np.diff(np.log(tried))
    assert found.steepest == tried[int(slopes[: smooth.argmin()].argmin()) + 1]
    marked = [line.get_xdata()[0] for line in rates_figure(**vars(found)).axes[0].lines[2:]]
    assert marked == [found.steepest, found.least]


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 2.0, 3.0], [1.0, 1.0]])
def test_a_loss_that_never_falls_is_told(losses):
    with pytest.raises(UserError, match="never falls"):
        read(list(np.geomspace(1e-3, 1, len(losses))), losses)


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: optax.chain(
            optax.add_decayed_weights(0.1), optax.sgd(rate, momentum=0.9, nesterov=True)
        ),
        lambda rate: optax.adamw(rate, weight_decay=0.1),
        lambda rate: optax.lamb(rate, weight_decay=0.1),
        lambda rate: optax.lion(rate, weight_decay=0.1),
    ],
    ids=["sgd", "adamw", "lamb", "lion"],
)
def test_every_optimizer_takes_the_rates_of_the_test(make):
    def wanted(step):
        return 1e-3 * 2.0**step

    ours = _with_schedule(make(lambda step: 0.5 + 0.1 * step), lambda s: 0.5 + 0.1 * s, wanted)
    results = []
    for optimizer in (ours, make(wanted)):
        params = {"w": jax.numpy.array([1.0, -2.0])}
        state = optimizer.init(params)
        for gradient in ([0.3, -0.1], [0.2, 0.4], [-0.5, 0.1]):
            grads = {"w": jax.numpy.array(gradient)}
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        results.append(params["w"])
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_a_range_without_ends_is_refused():
    with pytest.raises(InvalidConfig, match="below high"):
        RatesConfig(low=1.0, high=1.0)
    with pytest.raises(InvalidConfig, match="two ends"):
        RatesConfig(steps=1)


def test_first_batches_come_again_in_order_and_after_a_restart():
    def few():
        return FirstBatches(iter(grain.MapDataset.range(40).batch(4).to_iter_dataset()), 3)

    first = few()
    assert [int(next(first)[0]) for _ in range(4)] == [0, 4, 8, 0]
    again = few()
    again.set_state(first.get_state())
    assert [int(next(again)[0]) for _ in range(4)] == [4, 8, 0, 4]


def test_a_run_that_never_gets_on_stops_beginning(tmp_path):
    for _ in range(3):
        count_start(tmp_path, 7, restarts=2)
    with pytest.raises(UserError, match=r"begun at step 7 3 times.*starts\.json"):
        count_start(tmp_path, 7, restarts=2)
    count_start(tmp_path, 12, restarts=2)  # it got on
    count_start(tmp_path, 12, restarts=None)
    assert json.loads((tmp_path / "starts.json").read_text()) == {"step": 12, "starts": 1}
    (tmp_path / "starts.json").write_text("{")
    count_start(tmp_path, 12, restarts=0)


def test_the_train_job_counts_its_starts(trained, tmp_path):
    config = dataclasses.replace(trained[0], watch=WatchConfig(restarts=0))
    (tmp_path / "starts.json").write_text('{"step": 0, "starts": 1}')
    with pytest.raises(UserError, match="begun at step 0 1 times"):
        train(config, tmp_path)
