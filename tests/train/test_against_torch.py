"""The whole training step, in float64, against PyTorch on the same weights and batches."""

import numpy as np
import pytest
import tiny

torch = pytest.importorskip("torch")

import dataclasses  # noqa: E402

import jax  # noqa: E402

from deepmad_jax.train import to_device  # noqa: E402

STEPS = 20
CONFIG = dataclasses.replace(tiny.CONFIG, weight_decay=1e-2, warmup_epochs=1)


def torch_losses(params, rates):
    """The losses of PyTorch's own layers and SGD; the rates are ours."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    ).double()
    conv, norm, head = net[0], net[1], net[5]
    as_torch = {
        conv.weight: params["conv"]["kernel"].transpose(3, 2, 0, 1),
        head.weight: params["head"]["kernel"].T,
        head.bias: params["head"]["bias"],
        norm.weight: params["norm"]["scale"],
        norm.bias: params["norm"]["bias"],
    }
    with torch.no_grad():
        for theirs, ours in as_torch.items():
            theirs.copy_(torch.from_numpy(np.array(ours)))
    groups = [
        {"params": [conv.weight, head.weight], "weight_decay": CONFIG.weight_decay},
        {"params": [head.bias, norm.weight, norm.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=CONFIG.momentum, nesterov=True)
    losses, stream = [], tiny.batches()
    for rate in rates:
        batch = next(stream)
        for group in optimizer.param_groups:
            group["lr"] = rate
        images = torch.from_numpy(batch["image"].astype(np.float64).transpose(0, 3, 1, 2))
        labels = torch.from_numpy(batch["label"].astype(np.int64))
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_losses_of_twenty_steps_are_pytorchs():
    with jax.enable_x64(True):
        parts = tiny.make(CONFIG, dtype=np.float64)
        state, stream = parts.state(), tiny.batches()
        params = jax.device_get(state.params)
        losses, rates = [], []
        for step in range(STEPS):
            batch = next(stream)
            batch["image"] = batch["image"].astype(np.float64)
            rates.append(float(parts.schedule(step)))
            state, metrics = parts.train_step(state, to_device(parts.mesh, batch))
            losses.append(float(metrics["loss"]))
        assert metrics["loss"].dtype == np.float64
    np.testing.assert_allclose(losses, torch_losses(params, rates), rtol=1e-6)
    assert losses[-1] < 0.7 * losses[0]
