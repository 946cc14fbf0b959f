"""Steps of the compared networks beside PyTorch twins: the same losses, step for step."""

import re

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from deepmad_jax.config import TrainConfig
from deepmad_jax.interop import from_network
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import make_optimizer
from tests.nets.compared_nets import loaded, recorded

torch = pytest.importorskip("torch")
DECAY, CLIP, STEPS = 0.05, 5.0, {"adamw": 10, "sgd": 4}
RATES = {"adamw": 1e-3, "sgd": 2e-3}
FROZEN = {"t2t_t_a": ("pos_embed",)}  # its sinusoid


def our_losses(name, kind, images, labels):
    net = loaded(name)
    graphdef, params, stats = split_network(net)
    config = TrainConfig(optimizer=kind, weight_decay=DECAY, clip_norm=CLIP)
    optimizer = make_optimizer(config, optax.constant_schedule(RATES[kind]))

    def loss_of(params, stats):
        net = nnx.merge(graphdef, nnx.State(params), nnx.State(stats), copy=True)
        logits = net(images.transpose(0, 2, 3, 1), train=True)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))

    @jax.jit
    def step(params, stats, state):
        (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(params, stats)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), stats, state, loss

    state, losses = optimizer.init(params), []
    for _ in range(STEPS[kind]):
        params, stats, state, loss = step(params, stats, state)
        losses.append(float(loss))
    return losses


def twins_losses(name, kind, images, labels):
    from tests.nets.torch_compared import TWINS

    net = loaded(name)
    tensors = {key: torch.tensor(array) for key, array in from_network(net).items()}
    fixed = (".running_mean", ".running_var", *FROZEN.get(name, ()))
    trained = {key: t.requires_grad_() for key, t in tensors.items() if not key.endswith(fixed)}
    # What decays has two axes or more, and is no table, position or token.
    kept = re.compile("position_bias_table|pos_embed|_pos$|cls_token")
    decays = [t for key, t in trained.items() if t.ndim > 1 and not kept.search(key)]
    others = [t for t in trained.values() if not any(t is other for other in decays)]
    groups = [{"params": decays, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    momentum = {"momentum": 0.9, "nesterov": True} if kind == "sgd" else {}
    make = torch.optim.SGD if kind == "sgd" else torch.optim.AdamW
    optimizer, losses = make(groups, lr=RATES[kind], **momentum), []
    for _ in range(STEPS[kind]):
        logits = TWINS[name](tensors, torch.tensor(images), net.arch)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deit_a", "adamw"),
        # Slow: XLA compiles each for 15 to 30 s.
        *(
            pytest.param(name, "adamw", marks=pytest.mark.slow)
            for name in ("swin_a", "pvt_a", "t2t_t_a", "tnt_a", "slak_a")
        ),
        # Four steps of SGD: BatchNorm over the sixteen pixels of the last map enlarges a rounding
        # error tenfold at every step, and Adam's division more. Slow: XLA takes a minute to
        # differentiate 31 x 31 kernels.
        pytest.param("replknet_a", "sgd", marks=pytest.mark.slow),
    ],
)
def test_steps_have_the_losses_of_a_pytorch_twin(name, kind):
    images = recorded(name)[2]["__input__"]
    images = np.concatenate([images, images[..., ::-1]])
    labels = np.arange(len(images)) % 4
    ours, theirs = (f(name, kind, images, labels) for f in (our_losses, twins_losses))
    assert ours[-1] < 0.9 * ours[0]  # they move
    # float32 sums in two orders, which ten steps enlarge (seen: 4e-5 with AdamW); a wrong gradient
    # or decay shows from the second step on.
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
