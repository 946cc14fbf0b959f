"""Distillation: the two losses of DeiT's paper, with a network of another kind as the teacher."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import DataConfig, TrainConfig
from deepmad_jax.data import open_dataset
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.interop import from_network
from deepmad_jax.interop.files import write_weights
from deepmad_jax.nets import Network
from deepmad_jax.tasks.classify.functions import make_loss_fn
from deepmad_jax.tasks.classify.loss import normalise
from deepmad_jax.tasks.classify.teacher import distilled
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import create_state, make_mesh, make_train_step

torch = pytest.importorskip("torch")
F = torch.nn.functional

TEACHER = Architecture("res", 8, 1, 6, Stem(8, 3, 1), (Stage("res_basic", 8, 8, 3, 1, 2),))
STUDENT = Architecture(
    "vit", 8, 1, 6, Stem(8, 4, 4, "class_token"), (Stage("vit", 8, 16, 1, 1, 1, heads=2),)
)
DATA = DataConfig(source="fake", train_augment="none", fake_images=32)


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(5, 6)).astype(np.float32) * 3 for _ in range(2)]


def test_hard_loss_is_pytorchs_of_the_teachers_choice(logits):
    ours, theirs = logits
    found = distilled(*map(jnp.asarray, logits), TrainConfig(distillation="hard"))
    choice = torch.tensor(theirs).argmax(1)
    expected = F.cross_entropy(torch.tensor(ours), choice, reduction="none")
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


def test_soft_loss_is_pytorchs_divergence_times_the_square_of_the_temperature(logits):
    config = TrainConfig(distillation="soft", distillation_temperature=2.0)
    ours, theirs = (F.log_softmax(torch.tensor(x) / 2.0, 1) for x in logits)
    expected = 4.0 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)
    found = distilled(*map(jnp.asarray, logits), config)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A teacher's weights in a file that holds its architecture."""
    net = Network(TEACHER, rngs=nnx.Rngs(1))
    path = tmp_path_factory.mktemp("teacher") / "res.safetensors"
    write_weights(path, from_network(net), TEACHER)
    return path, net


def test_a_step_mixes_both_losses_by_the_share_and_leaves_the_teacher_alone(weights):
    path, teacher = weights
    dataset = open_dataset(DATA, resolution_px=8, channels=1, classes=6)
    graphdef, params, stats = split_network(Network(STUDENT, rngs=nnx.Rngs(0)))
    images = np.random.default_rng(1).integers(0, 255, (4, 8, 8, 1), np.uint8)
    batch = {"image": jnp.asarray(images), "label": jnp.array([0, 1, 2, 3])}
    config = TrainConfig(teacher=str(path), distillation="soft", label_smoothing=0.0)

    def loss_at(share):
        changed = dataclasses.replace(config, distillation_share=share)
        loss_fn = make_loss_fn(graphdef, dataset, DATA, changed)
        return float(jax.jit(loss_fn)(params, stats, batch, jax.random.key(0))[0])

    ours = nnx.merge(graphdef, nnx.State(params), nnx.State(stats))
    seen = normalise(batch["image"], dataset.mean, dataset.std)
    expected = float(distilled(ours(seen), teacher(seen), config).mean())
    # Seen: 1e-7 of the value; two programs of the same sums.
    assert loss_at(1.0) == pytest.approx(expected, rel=1e-5)
    assert loss_at(0.25) == pytest.approx(0.75 * loss_at(0.0) + 0.25 * expected, rel=1e-5)


def bytes_in_constants(lowered):
    """Of the larger arrays that are written into a program; small ones stand there as numbers."""
    literals = re.findall(r'dense<"0x([0-9A-F]+)">', lowered.as_text())
    return sum(map(len, literals)) // 2


def test_the_compiled_step_is_given_the_teachers_arrays_and_holds_none(weights):
    path, teacher = weights
    dataset = open_dataset(DATA, resolution_px=8, channels=1, classes=6)
    graphdef, params, stats = split_network(Network(STUDENT, rngs=nnx.Rngs(0)))
    loss_fn = make_loss_fn(graphdef, dataset, DATA, TrainConfig(teacher=str(path)))
    batch = {"image": jnp.zeros((4, 8, 8, 1), jnp.uint8), "label": jnp.arange(4)}
    optimizer = optax.sgd(0.1)
    state = create_state(params, stats, optimizer, ema=False)
    step = make_train_step(loss_fn, optimizer, optax.constant_schedule(0.1), make_mesh())
    held = bytes_in_constants(step.func.lower(*step.args, state, batch))
    closed_over = jax.jit(loss_fn).lower(params, stats, batch, jax.random.key(0))
    kernels = sum(a.nbytes for a in from_network(teacher).values() if a.nbytes > 1000)
    assert (held, bytes_in_constants(closed_over)) == (0, kernels)
    assert kernels > 4000
    _, metrics = step(state, batch)
    assert np.isfinite(metrics["loss"])


def test_a_teacher_of_other_classes_is_refused(weights):
    dataset = open_dataset(DATA, resolution_px=8, channels=1, classes=5)
    config = TrainConfig(teacher=str(weights[0]))
    with pytest.raises(InvalidConfig, match="tells 6 classes apart"):
        make_loss_fn(None, dataset, DATA, config)
