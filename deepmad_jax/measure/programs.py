"""Compiled programs to time: one row as networks compute it, or a whole network.

A conv is a block of `nets` with its BatchNorm (running statistics, as in inference), where it has
one, and its activation, an attention or a LayerNorm one by itself;
a network is `nets.Network` with fresh weights, its convs in the form that the jobs use on this
device. Nothing here says how long they take: `clock` does.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Architecture
from deepmad_jax.arch.rows import Layer
from deepmad_jax.compiler_options import network_options
from deepmad_jax.measure.points import Point, layer_of
from deepmad_jax.nets import Network
from deepmad_jax.nets.block import FUNCTIONS, Block, average_pool


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function and what it is called with."""

    compiled: Any
    arguments: tuple[Any, ...]

    def __call__(self) -> Any:
        """The result, which may not be there yet."""
        return self.compiled(*self.arguments)


def row_program(point: Point, batch: int, dtype: str) -> Program:
    """The row of a point, for a batch of maps."""
    layer, kind = layer_of(point), jnp.dtype(dtype)
    maps = _filled((batch, point.pixels, point.pixels, layer.c_in), kind)
    if point.kind in ("conv", "depthwise", "dense", "layer_norm", "attention"):
        return _block_program(layer, point.function, maps, kind)
    other = maps
    if point.kind == "scale":
        other = _filled((batch, 1, 1, point.c_in), kind)
    function, arguments = {
        "pool": (average_pool, (maps,)),
        "mean": (lambda x: x.mean((1, 2), keepdims=True, dtype=jnp.float32), (maps,)),
        "scale": (lambda x, y: x * y, (maps, other)),
        "add": (_add_then(point), (maps, other + 1)),
    }[point.kind]
    return _compile(function, *arguments)


def empty_program(like: Program | None = None) -> Program:
    """One that does next to nothing, with another's arguments: what a call costs by itself."""
    arguments = (jnp.zeros((8,), jnp.float32),) if like is None else like.arguments
    one = jnp.zeros((), jnp.float32)
    function = jax.jit(lambda one, *arguments: one + 1.0, keep_unused=True)
    return Program(function.lower(one, *arguments).compile(), (one, *arguments))


def network_program(arch: Architecture, batch: int, dtype: str) -> Program:
    """A whole network in inference, for a batch of images."""
    on_cpu = jax.default_backend() == "cpu"
    net = Network(arch, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype), cpu_convs=on_cpu)
    graph, state = nnx.split(net)
    images = _filled((batch, *arch.size_px, arch.in_channels), jnp.float32)
    return _compile(lambda state, x: nnx.merge(graph, state)(x), state, images)


def _block_program(layer: Layer, function: str | None, maps: jax.Array, dtype: Any) -> Program:
    made = layer.c_out, layer.r_out
    layers = [layer]
    if layer.kind == "conv" and not layer.bias:
        layers.append(Layer("norm", "main", made[0], made[0], made[1], made[1]))
    if function is not None:
        act = Layer("act", "main", made[0], made[0], made[1], made[1], function=function)
        layers.append(act)
    block = Block(
        layers,
        rngs=nnx.Rngs(0),
        dtype=dtype,
        batch_norm_momentum=0.1,
        cpu_convs=jax.default_backend() == "cpu",
    )
    graph, state = nnx.split(block)
    return _compile(lambda state, x: nnx.merge(graph, state)(x), state, maps)


def _add_then(point: Point) -> Callable[[jax.Array, jax.Array], jax.Array]:
    after = FUNCTIONS[point.function] if point.function else lambda x: x
    scale = _filled((point.c_in,), jnp.float32)
    if point.scaled:
        return lambda x, shortcut: after((x * scale).astype(x.dtype) + shortcut)
    return lambda x, shortcut: after(x + shortcut)


def _compile(function: Callable[..., Any], *arguments: Any) -> Program:
    jitted = jax.jit(function, compiler_options=network_options(jax.default_backend()))
    return Program(jitted.lower(*arguments).compile(), arguments)


def _filled(shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Not zeros: a device may be quicker with them."""
    return jax.random.normal(jax.random.key(0), shape, jnp.float32).astype(dtype)
