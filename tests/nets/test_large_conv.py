"""Large depthwise kernels by Fourier transforms against `jax.lax`, and in whole networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxpr_walk import count_equations

from deepmad_jax.nets.cpu_conv import LAYOUT, conv_for_cpu
from tests.nets.compared_nets import loaded, recorded

CASES = [
    ((13, 13), (9, 12), ((6, 6), (6, 6))),  # no tap reaches past the map, some past its edges
    ((51, 5), (8, 6), ((25, 25), (2, 2))),  # most taps meet padding only
    ((5, 31), (7, 40), ((2, 2), (15, 15))),
    ((11, 12), (14, 13), ((0, 3), (11, 0))),
]
"""Kernel, map and padding."""


@pytest.mark.parametrize(("size", "shape", "pads"), CASES)
def test_result_and_gradients_are_those_of_lax(size, shape, pads):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *shape, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*size, 1, 3)), jnp.float32)

    def ours(x, kernel):
        return conv_for_cpu(
            x, kernel, (1, 1), pads, dimension_numbers=LAYOUT, feature_group_count=3
        )

    def theirs(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), pads, dimension_numbers=LAYOUT, feature_group_count=3
        )

    assert count_equations(jax.make_jaxpr(ours)(x, kernel), "conv_general_dilated") == 0
    expected, pull = jax.vjp(theirs, x, kernel)
    found, pull_ours = jax.vjp(ours, x, kernel)
    dy = jnp.asarray(rng.normal(size=expected.shape), jnp.float32)
    for a, b in zip((found, *pull_ours(dy)), (expected, *pull(dy)), strict=True):
        # Transforms in float32: 1e-6 of the largest value, seen 4e-7.
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("name", ["slak_a", "replknet_a"])
def test_networks_give_the_recorded_logits_by_transforms_too(name):
    net, checks = loaded(name, cpu_convs=True), recorded(name)[2]
    logits = jax.jit(lambda x: net(x))(checks["__input__"].transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, checks["__logits__"], rtol=0, atol=5e-5)
