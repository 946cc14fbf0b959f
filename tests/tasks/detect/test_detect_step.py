"""Whole training steps as a run compiles them, over images of many sizes that lie and stand."""

import dataclasses

import jax
import numpy as np
import pytest
from test_detect_job import ARCH, CONFIG

from deepmad_jax.data.shapes import draw_shapes
from deepmad_jax.tasks.detect.task import DETECT
from deepmad_jax.tasks.task import split_network
from deepmad_jax.train import Plan, create_state, make_mesh, make_train_step, place, to_device

STEPS = 10
HEADS = {
    # What answers for objects larger than there are here learns nothing of them.
    "fcos": ("factors", 3),
    "cascade_mask_rcnn": (None, 0),
}
"""Head -> what of it may stand still, and in how many arrays at most."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("steps") / "set"
    draw_shapes(root, {"train": 15, "val": 6}, sizes=((48, 64), (80, 60), (56, 96), (64, 48)))
    return root


@pytest.mark.parametrize(
    "head", ["cascade_mask_rcnn", pytest.param("fcos", marks=pytest.mark.slow)]
)
def test_steps_are_compiled_for_two_shapes_and_move_every_parameter(root, head):
    config = dataclasses.replace(
        CONFIG,
        data=dataclasses.replace(CONFIG.data, data_dir=str(root)),
        train=dataclasses.replace(CONFIG.train, weight_decay=0.0),
        detect=dataclasses.replace(CONFIG.detect, head=head, short_sides=(40, 48, 56, 64)),
    )
    data, mesh = DETECT.open(config, ARCH), make_mesh(jax.devices()[:1])
    assert data.forms == 2
    graphdef, params, stats = split_network(DETECT.build(ARCH, config, data, True))
    optimizer, schedule = DETECT.optimizer(config, Plan.of(config.train, data.num_train))
    loss_fn, traced = DETECT.loss_fn(graphdef, data, config), []

    def counted(params, stats, batch, key):
        traced.append(batch["image"].shape)
        return loss_fn(params, stats, batch, key)

    step = make_train_step(counted, optimizer, schedule, mesh, seed=0, forms=data.forms)
    before = jax.device_get(params)
    state = place(mesh, create_state(params, stats, optimizer, ema=False))
    sizes, batches = set(), data.train_batches(config)
    for _ in range(STEPS):
        batch = next(batches)
        sizes |= set(map(tuple, batch["size"].tolist()))
        state, metrics = step(state, to_device(mesh, batch))
        assert all(np.isfinite(float(value)) for value in metrics.values()), metrics
    batches.close()
    masks = [name for name in metrics if name.startswith("loss_") and name.endswith("mask")]
    assert len(masks) == {"cascade_mask_rcnn": 3}.get(head, 0)  # one a stage
    assert len(sizes) > 8
    assert sorted(traced) == [(4, 64, 96, 3), (4, 96, 64, 3)]

    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), state.params, before)
    flat = jax.tree_util.tree_flatten_with_path(moved)[0]
    assert len(flat) > 30
    still = {jax.tree_util.keystr(path, simple=True) for path, value in flat if not value > 0}
    may, most = HEADS[head]
    assert len(still) <= most
    assert all(may in name for name in still)

    batch["image"] = np.pad(batch["image"], ((0, 0), (0, 32), (0, 0), (0, 0)))
    with pytest.raises(AssertionError, match="compiled for"):
        step(state, to_device(mesh, batch))
