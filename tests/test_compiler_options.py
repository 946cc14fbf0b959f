"""Options of the compiler: those it knows, and what they do to a network on a CPU."""

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.compiler_options import ON_CPU, known_options, network_options
from deepmad_jax.nets import Network


def test_options_that_this_compiler_does_not_know_are_left_out():
    assert known_options((("xla_of_another_year", True), ON_CPU[0])) == dict(ON_CPU[:1])
    assert network_options("cuda") == {}


def bytes_of(depth):
    """What XLA says an evaluation of one stage reads and writes, kernels aside."""
    stages = (Stage("basic", 16, 16, 3, depth, 1),)
    arch = Architecture("deep", 16, 3, 10, Stem(16, 3, 1), stages)
    net = Network(arch, rngs=nnx.Rngs(0), scan=False, cpu_convs=True)
    graph, state = nnx.split(net)
    run = jax.jit(
        lambda state, x: nnx.merge(graph, state)(x), compiler_options=network_options("cpu")
    )
    compiled = run.lower(state, jnp.zeros((8, 16, 16, 3))).compile()
    return compiled.cost_analysis()["bytes accessed"]


def test_a_block_does_not_sum_the_residuals_of_all_before_it():
    """Work grows with the number of blocks, not with its square."""
    few, some, many = map(bytes_of, (2, 8, 14))
    assert (many - some) < 1.1 * (some - few)
