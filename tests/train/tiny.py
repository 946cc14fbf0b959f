"""A network of one conv, two kinds of images, and everything to train one on the other.

Also a script: ``python tiny.py FILE [FIELD=VALUE ...]`` trains three steps on all devices, with
these fields of the config, and saves the parameters. It splits even small arrays over "fsdp".
"""

import ast
import dataclasses
import sys
from types import SimpleNamespace

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import deepmad_jax.train.mesh as mesh_module
from deepmad_jax.config import TrainConfig
from deepmad_jax.train import (
    Plan,
    create_state,
    make_eval_step,
    make_mesh,
    make_optimizer,
    make_schedule,
    make_train_step,
    place,
    state_sharding,
    to_device,
)

CONFIG = TrainConfig(
    epochs=4,
    batch_size=16,
    learning_rate=0.1,
    warmup_epochs=1,
    cooldown_epochs=0,
    weight_decay=1e-3,
    log_every_steps=3,
    eval_every_epochs=2,
    checkpoint_every_epochs=1,
    keep_checkpoints=2,
)
IMAGES = 80


class Net(nnx.Module):
    def __init__(self, rngs, dtype=jnp.float32):
        types = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.conv = nnx.Conv(1, 4, (3, 3), use_bias=False, **types)
        self.norm = nnx.BatchNorm(4, **types)
        self.head = nnx.Linear(4, 2, **types)

    def __call__(self, x, train):
        x = nnx.relu(self.norm(self.conv(x), use_running_average=not train))
        return self.head(x.mean((1, 2)))


def variables(dtype=jnp.float32):
    graphdef, params, batch_stats = nnx.split(Net(nnx.Rngs(0), dtype), nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)


def element(index):
    """Horizontal or vertical stripes in noise."""
    rng = np.random.default_rng(index)
    stripes = np.tile([[1.0], [-1.0]], (4, 8))
    image = (stripes if index % 2 else stripes.T) + rng.normal(size=(8, 8))
    return {"image": image[..., None].astype(np.float32), "label": np.int32(index % 2)}


def batches(batch_size=16, index=0, count=1):
    """Endless batches: the part of process ``index`` of ``count``."""
    stream = grain.MapDataset.range(IMAGES).seed(0).shuffle().map(element).repeat()
    mine = stream[index::count].batch(batch_size // count, drop_remainder=True)
    return iter(mine.to_iter_dataset())


def evaluation_batches(batch_size, index=0, count=1):
    """37 images once, in batches filled up with images of mask 0; the part of one process."""
    places = np.arange(-(-37 // batch_size) * batch_size)[index::count]
    for some in places.reshape(-1, batch_size // count):
        elements = [element(10_000 + place) | {"mask": np.float32(place < 37)} for place in some]
        yield {name: np.stack([e[name] for e in elements]) for name in elements[0]}


class CountedLoss:
    """The loss function, counting how often it is traced; ``dropout`` zeroes pixels."""

    def __init__(self, graphdef, dropout=0.0):
        self.graphdef, self.dropout, self.traces = graphdef, dropout, 0

    def __call__(self, params, batch_stats, batch, key):
        self.traces += 1
        net = nnx.merge(self.graphdef, nnx.State(params), nnx.State(batch_stats))
        images = batch["image"]
        if self.dropout:
            images *= jax.random.bernoulli(key, 1 - self.dropout, images.shape)
        logits = net(images, train=True)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        return loss, (nnx.to_pure_dict(nnx.state(net, nnx.BatchStat)), {})


def sums_fn(params, batch_stats, batch):
    net = nnx.merge(variables()[0], nnx.State(params), nnx.State(batch_stats))
    right = net(batch["image"], train=False).argmax(-1) == batch["label"]
    mask = batch.get("mask", jnp.ones(len(right)))
    return {"right": (right * mask).sum(), "images": mask.sum()}


def make(config=CONFIG, mesh=None, dtype=jnp.float32):
    """The parts of a run by name, and ``state()``, which makes a new initial state."""
    mesh = mesh or make_mesh(fsdp=config.fsdp)
    graphdef, *arrays = variables(dtype)
    # Flax keeps the statistics in float32 whatever it is told.
    params, batch_stats = jax.tree.map(lambda x: x.astype(dtype), arrays)
    plan = Plan.of(config, IMAGES)
    schedule = make_schedule(config, plan)
    optimizer = make_optimizer(config, schedule)
    loss_fn = CountedLoss(graphdef, config.dropout)
    averages = config.ema_decay is not None

    initial = create_state(params, batch_stats, optimizer, ema=averages)

    def state():
        return place(mesh, initial)

    return SimpleNamespace(
        config=config,
        plan=plan,
        mesh=mesh,
        schedule=schedule,
        loss_fn=loss_fn,
        params=params,
        state=state,
        train_step=make_train_step(
            loss_fn,
            optimizer,
            schedule,
            mesh,
            ema_decay=config.ema_decay,
            accumulate=config.accumulate_steps,
            batch_norm_groups=config.batch_norm_groups,
            seed=config.seed,
            state_sharding=state_sharding(mesh, initial),
        ),
        eval_step=make_eval_step(sums_fn, mesh),
    )


def leaves(tree):
    """Copies of all arrays by path."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.array(value) for path, value in flat}


def three_steps(config=CONFIG, shards=None):
    """Arrays of the state after three steps on all devices.

    Of every array that is split, the number of its parts is added to ``shards``.
    """
    parts, stream = make(config), batches()
    state = parts.state()
    for _ in range(3):
        state, _ = parts.train_step(state, to_device(parts.mesh, next(stream)))
    for leaf in jax.tree.leaves(state):
        if shards is not None and not leaf.sharding.is_fully_replicated:
            shards.append(leaf.size // leaf.addressable_shards[0].data.size)
    return leaves((state.params, state.batch_stats, state.ema))


if __name__ == "__main__":
    mesh_module.MIN_SPLIT_SIZE = 1
    fields = {k: ast.literal_eval(v) for k, v in (text.split("=") for text in sys.argv[2:])}
    shards = []
    arrays = three_steps(dataclasses.replace(CONFIG, **fields), shards)
    np.savez(sys.argv[1], devices=jax.device_count(), shards=shards, **arrays)
