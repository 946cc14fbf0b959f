"""An update one by one and piece by piece is that of whole arrays."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deepmad_jax.config import TrainConfig
from deepmad_jax.train import (
    create_state,
    make_mesh,
    make_optimizer,
    make_train_step,
    place,
    update,
)
from deepmad_jax.train.update import Elementwise, updated
from deepmad_jax.unstacked import blocks_of, stacked, unstacked
from tests.nets.jaxpr_walk import count_equations

SHAPES = {
    "conv": {"bias": (4,), "kernel": (3, 3, 2, 4)},
    "dense": {"kernel": (29, 1)},  # a prime: it stays whole
    "norm": {"scale": (48,)},
    "point": {"kernel": (4, 5)},  # needs no pieces
    "rest": {"bias": (2, 3), "kernel": (2, 4, 6)},
}
IN_PIECES = 3
"""Of these arrays: those of the rest as one."""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(update, "_PIECE", 12)
    monkeypatch.setattr(update, "_LEAST_PIECE", 5)
    monkeypatch.setattr(update, "_AT_ONCE", 22)
    monkeypatch.setattr(update, "available_cores", lambda: [0])


def arrays(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def optimizer_of(**changes):
    config = TrainConfig(**changes)
    return make_optimizer(config, optax.linear_schedule(0.1, 0.05, 3), 100)


def two_updates(optimizer, held=lambda tree: tree):
    """After two of them, from the same start: what `updated` gives; and its program.

    ``held`` is how parameters and gradients lie.
    """
    mesh = make_mesh(jax.devices()[:1])
    params = held(arrays(0))
    state = optimizer.init(params)

    def step(grads, state, params):
        return updated(optimizer, grads, state, params, mesh)

    program = jax.make_jaxpr(step)(held(arrays(1)), state, params)
    new = step(held(arrays(1)), state, params)
    return jax.jit(step)(held(arrays(2)), new.opt_state, new.params), program


def num_loops(program):
    return sum(count_equations(program.jaxpr, name) for name in ("scan", "while"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion"])
def test_state_params_and_norms_are_those_of_whole_arrays(optimizer):
    by_pieces, program = two_updates(optimizer_of(optimizer=optimizer))
    whole, other = two_updates(optax.GradientTransformation(*optimizer_of(optimizer=optimizer)))
    assert jax.tree.structure(by_pieces) == jax.tree.structure(whole)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), by_pieces, whole
    )
    assert [num_loops(program) for program in (program, other)] == [IN_PIECES, 0]
    for name, tree in (("gradient", arrays(2)), ("parameter", by_pieces.params)):
        squares = sum(float(np.square(x, dtype=np.float64).sum()) for x in jax.tree.leaves(tree))
        assert float(by_pieces.squares[name]) == pytest.approx(squares, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion"])
def test_blocks_held_one_by_one_are_updated_as_their_stack(optimizer):
    one_by_one, program = two_updates(optimizer_of(optimizer=optimizer), unstacked)
    together, _ = two_updates(optimizer_of(optimizer=optimizer))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        stacked(one_by_one),
        together,
    )
    assert num_loops(program) == IN_PIECES + 1  # two blocks


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lion", "lamb"])
def test_a_first_state_is_that_of_the_optimiser(optimizer):
    optimizer, params = optimizer_of(optimizer=optimizer), arrays(0)
    found, expected = (
        create_state(params, {}, optimizer, ema=False).opt_state,
        optimizer.init(params),
    )
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert (ours.dtype, ours.weak_type) == (theirs.dtype, theirs.weak_type)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "lamb"}, {"clip_norm": 1.0}, {"layer_decay": 0.9}, {"sparsity": 0.5}],
    ids=str,
)
def test_an_optimiser_that_looks_beyond_a_number_gets_whole_arrays(changes):
    assert not isinstance(optimizer_of(**changes), Elementwise)


def test_arrays_on_several_devices_stay_whole():
    optimizer, params = optimizer_of(), arrays(0)
    mesh = make_mesh(jax.devices()[:1])
    several = SimpleNamespace(size=2, devices=mesh.devices)
    loops = [
        num_loops(
            jax.make_jaxpr(lambda *args, mesh=mesh: updated(optimizer, *args, mesh))(
                params, optimizer.init(params), params
            )
        )
        for mesh in (mesh, several)
    ]
    assert loops == [IN_PIECES, 0]


@pytest.mark.parametrize(
    ("size", "piece"), [(23, 0), (24, 12), (26, 0), (48, 12), (49, 7), (60, 12), (62, 0), (121, 11)]
)
def test_pieces_are_equal_and_neither_large_nor_small(size, piece):
    assert update._piece_of(size) == piece


def test_several_cores_share_a_piece(monkeypatch):
    monkeypatch.setattr(update, "available_cores", lambda: [0, 1])
    assert [update._piece_of(size) for size in (24, 48, 60)] == [0, 24, 20]


def test_a_step_that_is_traced_again_for_the_same_blocks_has_met_no_other_form():
    def loss_fn(params, batch_stats, batch, key):
        loss = sum((block**2).sum() for block in blocks_of(params["rest"]["kernel"]))
        return loss * batch["image"].mean(), (batch_stats, {})

    optimizer, mesh = optimizer_of(), make_mesh(jax.devices()[:1])
    step = make_train_step(loss_fn, optimizer, lambda step: 0.1, mesh)
    state = create_state({"rest": arrays(0)["rest"]}, {}, optimizer, ema=False)
    state = unstacked(place(mesh, state))
    batch = {"image": jnp.ones((2, 4))}
    for _ in range(2):
        state, metrics = step(state, batch)
        jax.clear_caches()
    assert int(state.step) == 2
    assert float(metrics["update_norm"]) > 0.0
