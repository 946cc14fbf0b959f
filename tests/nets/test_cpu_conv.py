"""Convs as suits a CPU against `jax.lax`: alone, under transformations, and in whole networks."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxpr_walk import count_equations

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.nets import Network
from deepmad_jax.nets.cpu_conv import LAYOUT, conv_for_cpu

QUICKLY = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs once."""

CHANNELS = 6
GROUPS = {"dense": 1, "grouped": 2, "depthwise": CHANNELS, "wide": 1}
RESULTS = dict.fromkeys(GROUPS, CHANNELS) | {"wide": 32}
"""Channels of the result."""


def pads(size):
    """As in every block."""
    return (((size - 1) // 2,) * 2,) * 2


TAKEN = [
    *(("dense", 1, stride, (7, 6), pads(1)) for stride in (1, 2)),
    ("dense", 1, 2, (8, 5), "SAME"),
    *(("depthwise", k, stride, (7, 6), pads(k)) for k in (3, 5, 7) for stride in (1, 2)),
    ("depthwise", 3, 2, (8, 4), pads(3)),
    ("depthwise", 7, 2, (3, 2), pads(7)),
    ("depthwise", 5, 1, (1, 1), pads(5)),
    ("depthwise", 2, 2, (5, 4), "SAME"),
    ("depthwise", 3, 2, (6, 7), "VALID"),
    ("depthwise", 3, 2, (6, 7), ((3, 0), (0, 4))),
    ("depthwise", 11, 2, (6, 7), pads(11)),
    # More taps than the map, or the result, has pixels.
    *(("dense", 7, stride, (7, 6), pads(7)) for stride in (1, 2)),
    *(("dense", k, stride, (4, 3), pads(k)) for k in (5, 9) for stride in (1, 2)),
    *(("dense", 5, stride, (1, 1), pads(5)) for stride in (1, 2)),
    ("dense", 3, 2, (5, 2), "SAME"),
    ("dense", 5, 2, (7, 7), pads(5)),
    ("dense", 3, 1, (2, 2), ((3, 0), (0, 4))),
    *((kind, 2, 3, (1, 1), ((2, 0), (2, 0))) for kind in ("dense", "depthwise")),  # nothing is met
    ("dense", 3, 1, (5, 4), "VALID"),
]
"""Kind, kernel size, stride, (height, width), padding: what is computed otherwise than by lax."""

WIDE = [
    ("wide", 3, 1, (5, 4), pads(3)),
    ("wide", 3, 2, (7, 6), pads(3)),
    ("wide", 5, 2, (11, 9), pads(5)),
    ("wide", 2, 2, (5, 4), "SAME"),
    ("wide", 2, 3, (5, 4), ((3, 0), (0, 4))),
    ("wide", 3, 1, (7, 5), "VALID"),
]
"""About as many channels as pixels: lax computes the result and the kernel's gradient."""

LEFT = [
    *(("dense", k, 1, (7, 6), pads(k)) for k in (3, 5)),
    ("dense", 3, 2, (7, 6), pads(3)),
    *(("grouped", 5, stride, (3, 3), pads(5)) for stride in (1, 2)),
    *(("grouped", k, stride, (7, 6), pads(k)) for k in (1, 3, 5, 7) for stride in (1, 2)),
    *(("depthwise", 1, stride, (7, 6), pads(1)) for stride in (1, 2)),
    ("dense", 1, 2, (5, 4), ((1, 0), (0, 1))),
]


def function_of(conv, case):
    kind, _, stride, _, padding = case
    return functools.partial(
        conv,
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=LAYOUT,
        feature_group_count=GROUPS[kind],
    )


def ours(x, kernel, window_strides, padding, **others):
    return conv_for_cpu(x, kernel, window_strides, padding, **others)


def theirs(x, kernel, window_strides, padding, **others):
    return jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **others)


def arguments(case, dtype=np.float64):
    """Images, a kernel and a gradient of the result."""
    kind, size, _, shape, _ = case
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *shape, CHANNELS)), dtype)
    kernel = rng.normal(size=(size, size, CHANNELS // GROUPS[kind], RESULTS[kind]))
    kernel = jnp.asarray(kernel, dtype)
    out = jax.eval_shape(function_of(theirs, case), x, kernel)
    return x, kernel, jnp.asarray(rng.normal(size=out.shape), dtype)


def results(conv, case, x, kernel, dy):
    y, back = jax.vjp(function_of(conv, case), x, kernel)
    return {"y": y} | dict(zip(("dx", "dw"), back(dy), strict=True))


def compiled(function, *args):
    return jax.jit(function).lower(*args).compile(QUICKLY)(*args)


def assert_close(found, expected, rtol):
    """To within a share of the greatest entry."""
    assert found.keys() == expected.keys()
    for name in found:
        a, b = (np.asarray(value[name], np.float64) for value in (found, expected))
        assert a.shape == b.shape, name
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max(), err_msg=name)


@functools.cache
def all_results(conv):
    """Of every case taken, in float64, compiled as one program."""

    def run(inputs):
        return [results(conv, case, *x) for case, x in zip(TAKEN + WIDE, inputs, strict=True)]

    with jax.enable_x64(True):
        inputs = [arguments(case) for case in TAKEN + WIDE]
        return compiled(run, inputs)


@pytest.mark.parametrize("case", TAKEN + WIDE, ids=str)
def test_result_and_gradients_are_those_of_lax(case):
    place = (TAKEN + WIDE).index(case)
    found, expected = (all_results(conv)[place] for conv in (ours, theirs))
    assert {value.dtype for value in found.values()} == {np.dtype("float64")}
    assert_close(found, expected, rtol=1e-12)


def test_convs_in_these_forms_are_no_convs_and_others_are_left_as_they_are():
    def program(conv, case):
        return jax.make_jaxpr(functools.partial(results, conv, case))(*arguments(case, "float32"))

    for case in TAKEN:
        assert count_equations(program(ours, case).jaxpr, "conv_general_dilated") == 0, case
    for case in WIDE:
        assert count_equations(program(ours, case).jaxpr, "conv_general_dilated") == 2, case
    for case in LEFT:
        assert str(program(ours, case)) == str(program(theirs, case)), case


@pytest.mark.parametrize(
    "case",
    [
        ("depthwise", 7, 1, (12, 12), pads(7)),
        ("dense", 7, 1, (5, 5), pads(7)),
        ("wide", 3, 1, (4, 4), pads(3)),
    ],
    ids=str,
)
def test_bfloat16_adds_up_in_float32(case):
    inputs = arguments(case, jnp.bfloat16)
    found = compiled(functools.partial(results, ours, case), *inputs)
    assert {value.dtype for value in found.values()} == {jnp.dtype("bfloat16")}
    with jax.enable_x64(True):
        wide = [jnp.asarray(value, np.float64) for value in inputs]
        expected = compiled(functools.partial(results, theirs, case), *wide)
    # One rounding at the end, of half a unit in the eighth bit.
    assert_close(found, expected, rtol=2**-8)


@pytest.mark.parametrize(
    "others",
    [
        {"rhs_dilation": (2, 1)},
        {"lhs_dilation": (1, 2)},
        {"preferred_element_type": np.dtype("float32")},
        {"dimension_numbers": ("NWHC", "HWIO", "NHWC")},
    ],
    ids=str,
)
def test_what_no_block_asks_for_is_left_to_lax(others):
    case = ("depthwise", 3, 1, (7, 6), pads(3))
    x, kernel, _ = arguments(case, "float32")
    left, expected = (
        jax.make_jaxpr(functools.partial(function_of(conv, case), **others))(x, kernel)
        for conv in (ours, theirs)
    )
    assert str(left) == str(expected)


@pytest.mark.parametrize("case", [WIDE[0], TAKEN[0], LEFT[0]], ids=str)
def test_a_batch_may_be_of_any_size(case):
    x, kernel, _ = arguments(case, "float32")
    any_size = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, ...", like=x.shape), x.dtype)
    exported = jax.export.export(jax.jit(function_of(ours, case)))(any_size, kernel)
    found, expected = exported.call(x, kernel), function_of(theirs, case)(x, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_hold_under_scan_checkpoint_and_vmap():
    """As where BatchNorm is by group, batches come in pieces and maps are computed again."""
    case = ("depthwise", 3, 2, (7, 6), pads(3))

    def gradients(conv, pieces, kernel):
        def of_a_group(kernel, x):
            return (function_of(conv, case)(x, kernel) ** 3).mean()

        def of_a_piece(total, groups):
            per_group = jax.vmap(jax.checkpoint(of_a_group), in_axes=(None, 0))
            loss, grads = jax.value_and_grad(
                lambda kernel, groups: per_group(kernel, groups).sum(), argnums=(0, 1)
            )(kernel, groups)
            return total + grads[0], (loss, grads[1])

        return jax.lax.scan(of_a_piece, jnp.zeros_like(kernel), pieces)

    with jax.enable_x64(True):
        x, kernel, _ = arguments(case)
        pieces = jnp.stack([jnp.stack([x, 2 * x]), jnp.stack([-x, x + 1])])
        found, expected = (
            compiled(functools.partial(gradients, conv), pieces, kernel) for conv in (ours, theirs)
        )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


ON_FOUR_DEVICES = """
import functools, jax, numpy as np, test_cpu_conv as here
from jax.sharding import NamedSharding, PartitionSpec

mesh = jax.make_mesh((4,), ("batch",))
split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["batch"], []))
case = ("depthwise", 3, 2, (7, 6), here.pads(3))
x, kernel, dy = here.arguments(case, np.float32)
inputs = np.concatenate([x, -x]), kernel, np.concatenate([dy, dy + 1])
run = functools.partial(here.results, here.ours, case)
places = split, whole, split
out = {"y": split, "dx": split, "dw": whole}
compiled = jax.jit(run, in_shardings=places, out_shardings=out).lower(*inputs).compile()
assert "all-gather" not in compiled.as_text() and "all-reduce" in compiled.as_text()
here.assert_close(compiled(*jax.device_put(inputs, places)), jax.jit(run)(*inputs), 1e-6)
"""


def test_a_batch_split_over_devices_stays_where_it_is():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", ON_FOUR_DEVICES]
    subprocess.run(command, env=environment, check=True, timeout=240)


# --- in networks ----------------------------------------------------------------------------------

TINY = Architecture(
    "tiny",
    resolution=9,
    in_channels=3,
    classes=5,
    stem=Stem(4, 3, 1),
    stages=(Stage("mbconv_se", 6, 8, 5, 2, 2), Stage("bottleneck", 6, 4, 3, 1, 2)),
)


def network(cpu_convs):
    """Its layout only; in float64 where a network never is, too: in BatchNorm and classifier."""
    options = {"dtype": "float64", "scan": False, "cpu_convs": cpu_convs}
    net = nnx.eval_shape(lambda: Network(TINY, rngs=nnx.Rngs(0), **options))
    for block in net.blocks:
        for module in block.layers.values():
            module.dtype = jnp.dtype("float64")
    return net


def layout_results_and_convs(cpu_convs):
    """Layout of the state; loss, statistics and gradients of a step; how many convs it has."""
    graphdef, *layout = nnx.split(network(cpu_convs), nnx.Param, nnx.BatchStat)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 9, 9, 3))
    state = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), layout)

    def loss(params, stats):
        net = nnx.merge(graphdef, params, stats, copy=True)
        return (net(images, train=True) ** 2).sum(), nnx.state(net, nnx.BatchStat)

    step = jax.value_and_grad(loss, has_aux=True)
    convs = count_equations(jax.make_jaxpr(step)(*state).jaxpr, "conv_general_dilated")
    return layout, compiled(step, *state), convs


def test_a_network_has_the_same_state_loss_statistics_and_gradients():
    with jax.enable_x64(True):
        layout, results, convs = layout_results_and_convs(True)
        lax_layout, lax_results, lax_convs = layout_results_and_convs(False)
    assert layout == lax_layout
    for found, expected in zip(*map(jax.tree.leaves, (results, lax_results)), strict=True):
        # The means over pixels are float32, and a last bit may turn over there.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    # Forward and two gradients each, less that of the images. Those left are the stem's and the
    # bottleneck's kxk.
    assert (convs, lax_convs) == (2 * 3 - 1, 15 * 3 - 1)
