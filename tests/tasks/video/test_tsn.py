"""TSN's head and averages against what mmaction2 computed (tests/fixtures/video/tsn.npz)."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from test_video_job import ARCH

from deepmad_jax.config import Config, TrainConfig, VideoConfig
from deepmad_jax.tasks.classify.task import make_network
from deepmad_jax.tasks.video.evaluation import numbers_of, table_of
from deepmad_jax.tasks.video.functions import consensus
from deepmad_jax.tasks.video.optimizer import make_optimizer
from deepmad_jax.tasks.video.recogniser import Recogniser
from deepmad_jax.train import Plan
from tests.tasks.recorded import CLOSE, load, nhwc, set_conv

FILE = Path(__file__).parents[2] / "fixtures" / "video" / "tsn.npz"


class Pooled(nnx.Module):
    """In place of a network: gives the mean of each map, as those less their classifier do."""

    arch = SimpleNamespace(frames=0)

    def __init__(self, channels):
        self.feature_info = (SimpleNamespace(channels=channels),)

    def without_classifier(self):
        return self

    def __call__(self, x, train=False, key=None):
        return x.mean((1, 2))


@pytest.fixture(scope="module")
def recorded():
    return load(FILE)


def test_logits_of_a_clip_are_those_recorded(recorded):
    maps = jnp.asarray(nhwc(recorded["head/in"]))
    logits = recorded["head/logits"]
    clips = maps.reshape(len(logits), -1, *maps.shape[1:])
    net = Recogniser(Pooled(maps.shape[-1]), logits.shape[1], 0.01, 0.4, 0)
    state = {k.removeprefix("head/state/"): v for k, v in recorded.items() if "state" in k}
    set_conv(net.classes, state, "fc_cls")
    np.testing.assert_allclose(net(clips), logits, **CLOSE)


def test_a_clip_has_the_mean_of_its_frames_logits_as_an_image_classifier_gives_them():
    settings = TrainConfig(dtype="float32", zero_init=False)
    images = make_network(ARCH, settings)
    net = Recogniser(images, ARCH.classes, 0.01, 0.4, 0)
    (name,) = (name for name, layer in images.head.plan if layer.kind == "dense")
    dense = images.head.layers[name]
    net.classes.kernel[...] = dense.kernel[...].reshape(-1, ARCH.classes)
    net.classes.bias[...] = dense.bias[...]
    frames = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 32, 32, 3)), jnp.float32)
    each = nnx.jit(lambda net, x: net(x))(images, frames.reshape(6, 32, 32, 3))
    found = nnx.jit(lambda net, x: net(x))(net, frames)
    assert abs(each).max() > 1e-3
    np.testing.assert_allclose(found, each.reshape(2, 3, -1).mean(1), **CLOSE)


def test_averages_over_views_are_those_recorded(recorded):
    scores, wanted = recorded["average/clip_scores"], recorded["average/score"]
    views = jnp.asarray(scores.reshape(len(wanted), -1, wanted.shape[1]))
    # Log probabilities say what the recorded logits say but for a constant.
    found = consensus(views, "logits")
    np.testing.assert_allclose(found, jax.nn.log_softmax(jnp.asarray(wanted)), **CLOSE)
    found = jnp.exp(consensus(views, "probabilities"))
    np.testing.assert_allclose(found, recorded["average/prob"], **CLOSE)


def test_dropout_zeroes_features_of_the_mean_and_keeps_their_mean():
    net = Recogniser(Pooled(400), 1, 0.01, 0.4, 0)
    net.classes.kernel[...] = jnp.asarray(np.full((400, 1), 1 / 400, np.float32))
    frames = np.ones((50, 3, 1, 1, 400), np.float32)
    keys = jax.random.split(jax.random.key(0), 50)

    @nnx.jit
    def trained(net, frames, keys):
        return net(frames, True, keys)[:, 0]

    found = np.asarray(trained(net, frames, keys))
    # 400 features, each 0 or 1 / 0.6: six deviations of the mean of 20,000.
    assert abs(found.mean() - 1) < 6 * np.sqrt(0.4 / 0.6 / 20_000)
    assert len(np.unique(found)) > 20
    np.testing.assert_allclose(nnx.jit(lambda net, x: net(x))(net, frames), 1.0, rtol=1e-5)
    # By its own key, wherever a clip stands in the batch.
    turned = trained(net, frames, keys[::-1])
    np.testing.assert_allclose(turned[::-1], found, rtol=1e-6)


def test_accuracies_are_those_counted_by_hand():
    scores = np.log([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
    label = np.array([0, 0, 1, 2])
    found = numbers_of(label, scores)
    # Of the third the first of two equal classes is the guess.
    assert (found["top1"], found["top5"]) == (0.5, 1.0)
    assert found["macc"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert found["loss"] == pytest.approx(-np.log([0.6, 0.2, 0.4, 0.7]).mean())
    many = np.tile(np.arange(7.0), (2, 1))
    assert numbers_of(np.array([1, 2]), many)["top5"] == 0.5
    table = table_of(label, scores, ("run", "jump", "sit", "swim")).splitlines()
    assert [line.split() for line in table] == [
        ["class", "top-1", "videos", "most", "often", "taken", "for"],
        ["run", "0.5000", "2", "jump", "(1)"],
        ["jump", "0.0000", "1", "run", "(1)"],
        ["sit", "1.0000", "1", "-"],
        ["swim", "-", "0", "-"],
    ]


def test_steps_of_sgd_are_pytorchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    start = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    gradients = [{k: 30 * rng.normal(size=v.shape) for k, v in start.items()} for _ in range(6)]
    train = TrainConfig(
        epochs=3, batch_size=4, learning_rate=0.1, final_learning_rate=0.0, warmup_epochs=0,
        cooldown_epochs=0, weight_decay=0.05, clip_norm=40.0,
    )  # fmt: skip
    config = Config(train=train, video=VideoConfig(drop_epochs=(1.0, 2.0)))
    plan = Plan.of(train, num_images=8)
    optimizer, schedule = make_optimizer(config, plan)
    ours = {k: jnp.asarray(v, jnp.float32) for k, v in start.items()}
    state = optimizer.init(ours)

    @jax.jit
    def stepped(gradient, state, ours):
        updates, state = optimizer.update(gradient, state, ours)
        return optax.apply_updates(ours, updates), state

    theirs = {k: torch.nn.Parameter(torch.tensor(v, dtype=torch.float32)) for k, v in start.items()}
    other = torch.optim.SGD(theirs.values(), lr=0.1, momentum=0.9, weight_decay=0.05)
    drops = torch.optim.lr_scheduler.MultiStepLR(other, [2, 4], 0.1)
    for step, gradient in enumerate(gradients):
        assert float(schedule(step)) == pytest.approx(drops.get_last_lr()[0])
        given = {k: jnp.asarray(v, jnp.float32) for k, v in gradient.items()}
        ours, state = stepped(given, state, ours)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(gradient[name], dtype=torch.float32)
        norm = torch.nn.utils.clip_grad_norm_(theirs.values(), 40.0)
        assert norm > 0
        other.step()
        drops.step()
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name].detach().numpy(), rtol=1e-5)
