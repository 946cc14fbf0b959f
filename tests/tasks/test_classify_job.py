import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DataConfig, TrainConfig
from deepmad_jax.data import open_dataset
from deepmad_jax.data.fake import FakeSource
from deepmad_jax.errors import InvalidConfig, MissingData, UserError
from deepmad_jax.nets import Network
from deepmad_jax.nets.cpu_conv import conv_for_cpu
from deepmad_jax.tasks import run
from deepmad_jax.tasks.classify import task
from deepmad_jax.tasks.classify.task import CLASSIFY

ARCH = Architecture("tiny", 8, 1, 6, Stem(8, 3, 1), (Stage("basic", 8, 8, 3, 1, 2),))
CONFIG = Config(
    name="tiny",
    data=DataConfig(source="fake", train_augment="shift", fake_images=160),
    train=TrainConfig(
        epochs=10,
        batch_size=32,
        eval_batch_size=7,
        learning_rate=0.2,
        warmup_epochs=1,
        cooldown_epochs=0,
        batch_norm_momentum=0.1,
        dtype="float32",
        log_every_steps=10,
        eval_every_epochs=5,
        checkpoint_every_epochs=2,
    ),
)


def train(config, arch, workdir):
    return run.train(CLASSIFY, config, arch, workdir)


def evaluate(config, arch, workdir):
    return run.evaluate(CLASSIFY, config, arch, workdir)


def with_train(**fields):
    return dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **fields))


def with_data(**fields):
    return dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, **fields))


def lines_of(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    return SimpleNamespace(workdir=workdir, state=train(CONFIG, ARCH, workdir))


@pytest.fixture
def no_network(monkeypatch):
    """Fails where a network is built: nothing a user got wrong may cost that much."""

    def build(*args, **kwargs):
        raise AssertionError("a network was built before the error")

    monkeypatch.setattr(task, "Network", build)


def test_training_learns_and_leaves_the_files_of_a_run(trained):
    lines = lines_of(trained.workdir)
    fields = {"split", "step", "epoch", "loss", "top1", "learning_rate", "images_per_second"}
    assert all(line.keys() >= fields for line in lines if line["split"] == "train")
    assert [line["step"] for line in lines if line["split"] == "eval"] == [25, 50]
    assert lines[-1]["top1"] > 0.7  # chance is 0.17
    assert (trained.workdir / "checkpoints" / "50").is_dir()
    assert list((trained.workdir / "tensorboard").iterdir())


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_convs_are_computed_as_suits_the_device(monkeypatch, backend):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    net = nnx.eval_shape(lambda: task.make_network(ARCH, CONFIG.train))
    convs = [layer for block in net.blocks for layer in block.layers.values()]
    found = {layer.conv_general_dilated for layer in convs if isinstance(layer, nnx.Conv)}
    assert found == {conv_for_cpu if backend == "cpu" else jax.lax.conv_general_dilated}


def test_evaluation_is_that_of_all_images_at_once_in_numpy(trained):
    result = evaluate(CONFIG, ARCH, trained.workdir)
    source = open_dataset(CONFIG.data, resolution_px=8, channels=1, classes=6).evaluation
    images = np.stack([source[i]["image"] for i in range(len(source))])
    labels = np.array([source[i]["label"] for i in range(len(source))])
    net = Network(ARCH, rngs=nnx.Rngs(0), scan=False)
    nnx.update(net, nnx.State(trained.state.params), nnx.State(trained.state.batch_stats))
    logits = np.asarray(net(jnp.asarray((images / 255 - 0.5) / 0.25, jnp.float32), train=False))
    ranks = (-logits).argsort(1)
    assert result["images"] == 20
    assert result["step"] == 50
    assert result["top1"] == (ranks[:, 0] == labels).mean()
    assert result["top5"] == (ranks[:, :5] == labels[:, None]).any(1).mean()
    logits = logits.astype(float)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert result["loss"] == pytest.approx(-log_p[np.arange(20), labels].mean(), rel=1e-4)


@pytest.mark.parametrize("eval_batch_size", [20, 1000])
def test_evaluation_does_not_depend_on_its_batch_size(trained, eval_batch_size):
    ours = evaluate(with_train(eval_batch_size=eval_batch_size), ARCH, trained.workdir)
    sevens = evaluate(CONFIG, ARCH, trained.workdir)
    assert ours.pop("loss") == pytest.approx(sevens.pop("loss"), rel=1e-5)
    assert ours == sevens


def test_evaluation_without_a_usable_image_is_refused(trained, monkeypatch):
    def unlabelled(source, index):
        return {**read(source, index), "label": -1}

    read = FakeSource.__getitem__
    monkeypatch.setattr(FakeSource, "__getitem__", unlabelled)
    before = lines_of(trained.workdir)
    with pytest.raises(UserError, match=r"its label is -1.*--config\.data\.unlabelled=drop"):
        evaluate(CONFIG, ARCH, trained.workdir)
    with pytest.raises(UserError, match=r"No image of the evaluation of fake could be used"):
        evaluate(with_data(unlabelled="drop"), ARCH, trained.workdir)
    assert lines_of(trained.workdir) == before


def test_last_evaluation_line_of_a_step_is_the_latest_result(trained):
    result = evaluate(CONFIG, ARCH, trained.workdir)
    lines = lines_of(trained.workdir)
    evaluations = [line for line in lines if line["split"] == "eval"]
    assert {line["step"] for line in evaluations} == {25, 50}
    # Whether two evaluations agree to the bit is the machine's: where they do, training's own line,
    # which says a little more, stands for both.
    assert evaluations[-1].items() >= result.items()


def test_stopped_training_goes_on_to_the_same_bits(trained, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*args):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(task, "sum_over_batches", stop)
        with pytest.raises(Stopped):
            train(CONFIG, ARCH, tmp_path)
    resumed = train(CONFIG, ARCH, tmp_path)
    for ours, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(trained.state), strict=True):
        np.testing.assert_array_equal(ours, other)
    steps = [(line["split"], line["step"]) for line in lines_of(tmp_path)]
    assert len(steps) == len(set(steps))
    # The other run's log also holds the evaluations that the tests above asked for.
    whole = [(line["split"], line["step"]) for line in lines_of(trained.workdir)]
    assert steps == list(dict.fromkeys(whole))


def test_bfloat16_keeps_params_statistics_and_losses_in_float32(tmp_path):
    config = with_train(dtype="bfloat16", ema_decay=0.9, epochs=2)
    state = train(config, ARCH, tmp_path)
    kept = (state.params, state.batch_stats, state.ema)
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("float32")}
    assert evaluate(config, ARCH, tmp_path)["images"] == 20


def test_checkpoint_of_another_architecture_is_refused(trained):
    wider = dataclasses.replace(ARCH, stem=Stem(16, 3, 1))
    with pytest.raises(UserError, match="is of another architecture"):
        evaluate(CONFIG, wider, trained.workdir)


def test_checkpoint_of_an_architecture_of_equal_shapes_is_refused(trained):
    strided = dataclasses.replace(ARCH, stages=(dataclasses.replace(ARCH.stages[0], stride=1),))
    with pytest.raises(UserError, match=r"stages\.0\.stride=2, not 1, so it is of another arch"):
        evaluate(CONFIG, strided, trained.workdir)


def test_evaluation_asks_nothing_of_the_training_batch_and_schedule(trained):
    config = with_train(batch_size=31, epochs=2000.0, warmup_epochs=1000.0)
    assert evaluate(config, ARCH, trained.workdir)["images"] == 20


def test_evaluation_lines_name_their_data(trained):
    lines = [line for line in lines_of(trained.workdir) if line["split"] == "eval"]
    assert {line["dataset"] for line in lines} == {"fake"}


@pytest.mark.slow
def test_every_option_of_the_recipe_trains_and_resumes(tmp_path, monkeypatch):
    config = with_train(
        epochs=4,
        accumulate_steps=2,
        batch_norm_groups=2,
        clip_norm=1.0,
        remat=True,
        drop_path=0.2,
        dropout=0.2,
        ema_decay=0.9,
    )
    whole = train(config, ARCH, tmp_path / "whole")

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(task, "sum_over_batches", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, ARCH, tmp_path / "stopped")
    resumed = train(config, ARCH, tmp_path / "stopped")
    for ours, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, other)


@pytest.mark.usefixtures("no_network")
def test_evaluation_without_a_checkpoint_says_to_train_first(tmp_path):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    for workdir in (tmp_path, tmp_path / "empty"):
        with pytest.raises(MissingData, match=r"no checkpoint in .*--config\.jobs=train"):
            evaluate(CONFIG, ARCH, workdir)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.usefixtures("no_network")
def test_missing_data_is_reported_before_a_network_is_built(tmp_path):
    config = with_data(source="tfds", name="imagenet2012", data_dir=str(tmp_path))
    with pytest.raises(MissingData, match=r"--config\.data\.source=fake"):
        train(config, dataclasses.replace(ARCH, in_channels=3, classes=1000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_network")
def test_unfit_data_are_refused_before_a_network_is_built(tmp_path):
    with pytest.raises(InvalidConfig, match=r"1 channel.*6 classes.*digits data has.*10 classes"):
        train(with_data(source="digits"), ARCH, tmp_path)
