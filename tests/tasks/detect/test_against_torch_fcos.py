"""Twenty steps of training beside a plain PyTorch FCOS: the same weights, batches and losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_detect_job import ARCH, config_of

from deepmad_jax.data.shapes import draw_shapes
from deepmad_jax.tasks.canvas import on_canvas
from deepmad_jax.tasks.detect.functions import make_loss_fn
from deepmad_jax.tasks.detect.task import DETECT
from deepmad_jax.tasks.task import split_network

torch = pytest.importorskip("torch")

from benchmarks.torch_fcos import TorchFcos, weights_of  # noqa: E402

STEPS, RATE, MOMENTUM = 20, 0.01, 0.9


def test_twenty_losses_are_those_of_plain_pytorch(tmp_path):
    # Images that fill their canvas: PyTorch's GroupNorm knows of no other.
    root = tmp_path / "set"
    draw_shapes(root, {"train": 15, "val": 6}, sizes=((64, 96),))
    config = config_of(root, short_sides=(64,))
    data = DETECT.open(config, ARCH)
    graphdef, params, stats = split_network(DETECT.build(ARCH, config, data, True))
    twin = TorchFcos(ARCH, data.dataset.classes, 8, 1, 2)
    missing, unknown = twin.load_state_dict(weights_of(params, stats), strict=False)
    assert not unknown
    assert all(name.endswith("num_batches_tracked") for name in missing)
    twin.train()

    optimizer = optax.sgd(RATE, MOMENTUM)
    loss_fn = jax.value_and_grad(make_loss_fn(graphdef), has_aux=True)

    @jax.jit
    def step(params, stats, state, batch):
        (loss, (stats, _)), grads = loss_fn(params, stats, batch, jax.random.key(0))
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), stats, state, loss

    state = optimizer.init(params)
    sgd = torch.optim.SGD(twin.parameters(), lr=RATE, momentum=MOMENTUM)
    batches, ours, theirs = data.train_batches(config), [], []
    for _ in range(STEPS):
        batch = next(batches)
        assert (batch["size"] == batch["image"].shape[1:3]).all()
        params, stats, state, loss = step(params, stats, state, batch)
        ours.append(float(loss))
        images = np.array(on_canvas(jnp.asarray(batch["image"]), batch["size"]))
        known = [label >= 0 for label in batch["label"]]
        sgd.zero_grad()
        loss = twin.loss(
            torch.tensor(images.transpose(0, 3, 1, 2)),
            [torch.tensor(b[k]) for b, k in zip(batch["boxes"], known, strict=True)],
            [torch.tensor(c[k]).long() for c, k in zip(batch["label"], known, strict=True)],
        )
        loss.backward()
        sgd.step()
        theirs.append(loss.item())
    batches.close()
    assert ours[0] > 1.2 * ours[-1]  # it learns
    # Rounding grows along the way: 5e-7 in the first ten steps, 1e-4 in the last.
    np.testing.assert_allclose(ours[:10], theirs[:10], rtol=1e-5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
