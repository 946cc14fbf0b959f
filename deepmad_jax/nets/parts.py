"""What necks and heads on a backbone's maps are made of: convs, dense layers, norms, dropout.

A backbone is made of the layer table (`network.py`); what stands on it is not designed and has no
rows there. Kernels are drawn by NumPy: JAX would compile a generator for every new shape.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.nets.batch_norm import BatchNorm
from deepmad_jax.nets.block import EPSILON
from deepmad_jax.nets.cpu_conv import conv_for_cpu

LAYER_NORM_EPSILON = 1e-6
"""Added to the variance by the LayerNorm of `layer_norm`, as ConvNeXt does."""

GROUP_NORM_EPSILON = 1e-5
"""Added to the variance by every GroupNorm, as PyTorch does."""

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
"""Initial values of a kernel from its shape."""


@dataclasses.dataclass(frozen=True)
class Making:
    """How the parts of one network are made.

    Attributes:
        rng: draws every kernel, in the order in which the parts are made.
        dtype: of the computation; parameters are float32.
        cpu_convs: compute convs as suits a CPU (see `cpu_conv.py`).
        batch_norm_momentum: share of the new batch in BatchNorm's running statistics.
    """

    rng: np.random.Generator
    dtype: Any = jnp.float32
    cpu_convs: bool = False
    batch_norm_momentum: float = 0.1


def normal(std: float) -> Draw:
    """Normal numbers of this deviation."""
    return lambda rng, shape: rng.normal(0.0, std, shape)


def xavier_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers of variance 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    window = math.prod(shape[:-2])
    limit = math.sqrt(6.0 / (window * (shape[-2] + shape[-1])))
    return rng.uniform(-limit, limit, shape)


def he_by_fan_out(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers of variance 2 / fan out (He et al. 2015)."""
    return rng.normal(0.0, math.sqrt(2.0 / (math.prod(shape[:-2]) * shape[-1])), shape)


def conv(
    making: Making,
    c_in: int,
    c_out: int,
    kernel: int,
    *,
    stride: int = 1,
    draw: Draw,
    bias: float | None = 0.0,
) -> nnx.Conv:
    """A conv, zeros around the map; ``bias`` is where its bias starts, None for no bias."""
    made = nnx.Conv(
        c_in,
        c_out,
        (kernel, kernel),
        stride,
        padding=(kernel - 1) // 2,
        use_bias=bias is not None,
        dtype=making.dtype,
        kernel_init=jax.nn.initializers.zeros,
        conv_general_dilated=(conv_for_cpu if making.cpu_convs else jax.lax.conv_general_dilated),
        rngs=nnx.Rngs(0),
    )
    return _filled(made, making, draw, bias)


def transposed_conv(
    making: Making, c_in: int, c_out: int, *, draw: Draw, bias: float = 0.0
) -> nnx.ConvTranspose:
    """A 2x2 transposed conv of stride 2: the map becomes twice as large."""
    made = nnx.ConvTranspose(
        c_in,
        c_out,
        (2, 2),
        (2, 2),
        padding="VALID",
        dtype=making.dtype,
        kernel_init=jax.nn.initializers.zeros,
        rngs=nnx.Rngs(0),
    )
    return _filled(made, making, draw, bias)


def dense(making: Making, c_in: int, c_out: int, *, draw: Draw, bias: float = 0.0) -> nnx.Linear:
    """A dense layer."""
    made = nnx.Linear(
        c_in,
        c_out,
        dtype=making.dtype,
        kernel_init=jax.nn.initializers.zeros,
        rngs=nnx.Rngs(0),
    )
    return _filled(made, making, draw, bias)


def _filled(made: Any, making: Making, draw: Draw, bias: float | None) -> Any:
    shape = made.kernel[...].shape
    made.kernel = nnx.Param(jnp.asarray(draw(making.rng, shape).astype(np.float32)))
    if bias is not None:
        made.bias = nnx.Param(jnp.asarray(np.full(shape[-1], bias, np.float32)))
    return made


class ConvNorm(nnx.Module):
    """Conv without bias, BatchNorm and ReLU; the map keeps its size.

    Under `jax.jit` BatchNorm's statistics are those of the whole batch over all devices.
    """

    def __init__(self, making: Making, c_in: int, c_out: int, kernel: int):
        self.conv = conv(making, c_in, c_out, kernel, draw=he_by_fan_out, bias=None)
        self.norm = BatchNorm(
            c_out,
            momentum=1.0 - making.batch_norm_momentum,
            epsilon=EPSILON,
            dtype=jnp.float32,
            rngs=nnx.Rngs(0),
        )

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """The map, of the conv's dtype; with ``train`` the running statistics move."""
        x = self.conv(x)
        return jax.nn.relu(self.norm(x, use_running_average=not train).astype(x.dtype))


def layer_norm(channels: int) -> nnx.LayerNorm:
    """LayerNorm over the channels of each pixel, computed in float32."""
    return nnx.LayerNorm(
        channels,
        epsilon=LAYER_NORM_EPSILON,
        use_fast_variance=False,
        dtype=jnp.float32,
        rngs=nnx.Rngs(0),
    )


def drop_channels(x: jax.Array, rate: float, keys: jax.Array) -> jax.Array:
    """Whole channels of an image zeroed with probability ``rate``, the others made larger.

    Args:
        x: (batch, H, W, channels).
        rate: in [0, 1).
        keys: typed, one an image, so that its place in the batch changes nothing.
    """

    def kept(key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key, 1.0 - rate, x.shape[-1:]) / (1.0 - rate)

    return x * jax.vmap(kept)(keys)[:, None, None].astype(x.dtype)


class GroupNorm(nnx.Module):
    """GroupNorm whose statistics may leave padding out.

    Where images of several sizes lie on canvases of one size, the mean and variance over a whole
    canvas would depend on how much of it is empty; with a mask they are those of the image alone.

    Args:
        channels, groups: of the map; ``groups`` divides ``channels``.
    """

    def __init__(self, channels: int, groups: int):
        self.groups = groups
        self.scale = nnx.Param(jnp.asarray(np.ones(channels, np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros(channels, np.float32)))

    def __call__(self, x: jax.Array, inside: jax.Array | None = None) -> jax.Array:
        """The normalised map, of ``x``'s dtype, computed in float32.

        Args:
            x: shape (batch, H, W, channels).
            inside: pixels that count, boolean, shape (batch, H, W, 1); None: all do.
        """
        batch, height, width, channels = x.shape
        grouped = x.astype(jnp.float32).reshape(
            batch, height * width, self.groups, channels // self.groups
        )
        share = 1.0 if inside is None else inside.reshape(batch, -1, 1, 1).astype(jnp.float32)
        count = (share * jnp.ones((1, height * width, 1, 1))).sum(1, keepdims=True)
        count = jnp.maximum(count, 1.0) * (channels // self.groups)
        mean = (grouped * share).sum((1, 3), keepdims=True) / count
        variance = (jnp.square(grouped - mean) * share).sum((1, 3), keepdims=True) / count
        normalised = (grouped - mean) * jax.lax.rsqrt(variance + GROUP_NORM_EPSILON)
        out = normalised.reshape(x.shape) * self.scale[...] + self.bias[...]
        return out.astype(x.dtype)
