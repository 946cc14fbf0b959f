"""Initial kernels: He normal by fan-out for convs, normal(0.01) for the classifier, in one draw.

What the authors of another network draw otherwise says its row (`rows.Layer.draw`). BatchNorm
starts at scale 1 and bias 0, the classifier's bias at 0: the layers' own defaults. But the last
BatchNorm before an addition may start at scale 0 (`silence_branches`), so that every residual block
first hands on its shortcut.

Source: He et al. 2015 (arXiv 1502.01852), Eq. 14, as torchvision's ResNets and MobileNets start;
the paper names no initialisation. TinyNAS draws by fan-in instead, and needs no better: it scores
nets without training them.
"""

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Layer, cost
from deepmad_jax.nets.block import Block

CLASSIFIER_STD = 0.01

TOKEN_STD = 0.02
"""Of linear layers, tables and class tokens in the networks whose authors draw them so."""


def draw_kernels(blocks: Iterable[Block], key: jax.Array) -> None:
    """Fills every kernel of the blocks with normal numbers, in place.

    One draw, cut up: drawn one by one, every new shape compiles its own generator, which took 83 s
    for 40 kernels on two CPU cores where one draw took 2 s.
    """
    drawn = [
        (array, layer)
        for block in blocks
        for name, layer in block.plan
        if name is not None
        for array in _drawn(block.layers[name], layer)
    ]
    noise = jax.random.normal(key, (sum(array.size for array, _ in drawn),), jnp.float32)
    start = 0
    for array, layer in drawn:
        values = noise[start : start + array.size].reshape(array.shape)
        if layer.draw == "uniform":
            # The share of normal numbers below a normal number is uniform.
            bound = 1.0 / math.sqrt(cost.fan_in(layer))
            array[...] = bound * jax.lax.erf(values / math.sqrt(2.0))
        else:
            array[...] = kernel_std(layer) * values
        start += array.size


def _drawn(module: Any, layer: Layer) -> list[nnx.Variable]:
    """The arrays of a layer that do not start at a constant."""
    if layer.kind in ("conv", "dense"):
        has_bias = layer.draw == "uniform" and module.bias is not None
        return [module.kernel, *([module.bias] if has_bias else [])]
    if layer.kind not in ("position", "window_attention"):
        return []
    arrays = (module.table, getattr(module, "token", None))
    return [array for array in arrays if isinstance(array, nnx.Param)]


def silence_branches(blocks: Iterable[Block]) -> None:
    """Sets to 0 the scale of the last BatchNorm before each addition, in place.

    A block without a shortcut keeps its scales: it would hand on nothing. One without BatchNorm has
    a layer scale, which starts small enough.

    Source: Goyal et al. 2017 (arXiv 1706.02677), section 5.1; torchvision's ``zero_init_residual``.
    """
    for block in blocks:
        last = None
        for name, layer in block.plan:
            if layer.kind == "norm" and layer.branch == "main":
                last = name
            elif layer.kind == "add" and last is not None:
                block.layers[last].scale[...] = jnp.zeros_like(block.layers[last].scale[...])


def kernel_std(layer: Layer) -> float:
    """Standard deviation of a layer's initial kernel.

    An input channel of a grouped conv reaches ``c_out / groups`` channels, which is its fan-out;
    torchvision counts ``c_out``, which starts depthwise kernels far smaller.

    >>> kernel_std(Layer("conv", "main", 8, 32, 1, 1, kernel=1)), kernel_std(
    ...     Layer("conv", "main", 32, 32, 8, 8, kernel=5, groups=32))
    (0.25, 0.282842712474619)
    """
    if layer.draw == "normal" or layer.kind in ("position", "window_attention"):
        return TOKEN_STD
    if layer.kind == "dense":
        return CLASSIFIER_STD
    return math.sqrt(2.0 * layer.groups / (layer.kernel**2 * layer.c_out))
