"""One block, interpreted from the rows of the layer table.

`Block` knows nothing of bottlenecks or squeezes: it is given layers (`arch.layers.Layer`) and does
them in order, each on the branch it names. A new block kind is new rows in `arch/layers.py`; a new
kind of layer is one entry in the tables and one rule below or, of tokens, in `tokens.py`. The stem,
the final conv and the classifier are blocks too. Initial kernels are drawn in `init.py`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from deepmad_jax.arch import Layer
from deepmad_jax.arch.rows import along_axes
from deepmad_jax.nets import tokens
from deepmad_jax.nets.batch_norm import BatchNorm
from deepmad_jax.nets.cpu_conv import conv_for_cpu
from deepmad_jax.nets.max_pool import max_pool

EPSILON = 1e-5
"""Added to the variance by every BatchNorm, as PyTorch does."""

LAYER_SCALE = 1e-6
"""Where the factors of a layer scale start: a block begins as the identity (ConvNeXt)."""

Pair = tuple[jax.Array, jax.Array]
"""The main map and TNT's words."""

KEPT = "conv"
"""Name of what every conv gives, by which `stage` tells it from what is cheap to compute again."""

FUNCTIONS = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "sigmoid": jax.nn.sigmoid,
}
"""Activation functions by the name a row gives them."""


def layer_names(layers: Iterable[Layer]) -> tuple[str | None, ...]:
    """The name of each layer that holds parameters, None for the others.

    A name is branch, number of the branch's conv or dense layers so far, and kind, of a second such
    layer with a 2 after it. It is part of every parameter's path in the state, thus of checkpoints.

    >>> conv, norm = Layer("conv", "main", 3, 8, 32, 32), Layer("norm", "main", 8, 8, 32, 32)
    >>> layer_names([conv, norm, Layer("act", "main", 8, 8, 32, 32), conv])
    ('main1_conv', 'main1_norm', None, 'main2_conv')
    """
    places: dict[str, int] = {}
    names: list[str | None] = []
    for layer in layers:
        if layer.kind in ("conv", "dense"):
            places[layer.branch] = places.get(layer.branch, 0) + 1
        holds = layer.kind in MODULES
        place = places.get(layer.branch, 0)
        name = f"{layer.branch}{place}_{layer.kind}"
        names.append((f"{name}2" if name in names else name) if holds else None)
    return tuple(names)


class Block(nnx.Module):
    """The layers of one section, done in order: ``(batch, H, W, c_in)`` to the last one's output.

    The main branch and the shortcut start from the input, any other branch with a ``mean`` of the
    main one; ``fork`` starts a branch anew, ``scale``, ``add`` and ``join`` join one to it. The
    rows' resolutions are not read: any H and W will do. TNT's words are a map beside the main one:
    where there are any, inputs and outputs are pairs.

    Args:
        layers: of one section of the layer table.
        rngs: asked for by the layers; they draw nothing, kernels start at zero (see `init.py`).
        dtype: of the computation; parameters and BatchNorm statistics are float32.
        batch_norm_momentum: share of the new batch in the running statistics.
        cpu_convs: compute convs as suits a CPU (see `cpu_conv.py`).
        axes: of a map: 2, or 3 of clips, ``(batch, frames, H, W, c_in)``.

    Attributes:
        plan: name (see `layer_names`) and layer, in order of execution.
        frozen: every BatchNorm uses its running statistics and leaves them, in training too.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype,
        batch_norm_momentum: float,
        cpu_convs: bool = False,
        axes: int = 2,
    ):
        settings = _Settings(rngs, dtype, batch_norm_momentum, cpu_convs, axes)
        self.dtype = dtype
        self.cpu_convs = cpu_convs
        self.frozen = False
        self.plan = tuple(zip(layer_names(layers), layers, strict=True))
        self.layers = nnx.Dict(
            {
                name: MODULES[layer.kind](layer, settings)
                for name, layer in self.plan
                if name is not None
            }
        )

    def __call__(
        self,
        x: jax.Array | Pair,
        train: bool = False,
        keep: jax.Array | None = None,
        odd: jax.Array | bool = False,
    ) -> jax.Array | Pair:
        """The output of the last layer; with ``train`` the running statistics move.

        ``keep``, shape (additions, batch, 1, 1, 1), of clips one 1 more, multiplies what is added
        to a shortcut, at the first addition by its first entry: stochastic depth. ``odd`` is
        whether the block stands at an odd place of its stage, where windows are shifted.
        """
        main = x[0] if isinstance(x, tuple) else x
        branches = {"main": main, "shortcut": main}
        if isinstance(x, tuple):
            branches["words"] = x[1]
        additions = 0
        for name, layer in self.plan:
            value = branches.get(layer.branch)
            if layer.kind == "conv" and layer.window:
                _, height, width, _ = value.shape
                value = self.layers[name](tokens.each_window(value, layer.window))
                value = tokens.of_windows(value, height // layer.stride, width // layer.stride)
            elif layer.kind == "conv":
                value = self.layers[name](value)
                # What a scanned stage keeps for the backward pass; in an export it has no place.
                value = checkpoint_name(value, KEPT) if train else value
            elif layer.kind == "norm":
                value = self.layers[name](value, use_running_average=self.frozen or not train)
                value = value.astype(self.dtype)
            elif layer.kind in ("layer_norm", "layer_scale"):
                value = self.layers[name](value).astype(value.dtype)
            elif layer.kind == "act":
                value = FUNCTIONS[layer.function](value)
            elif layer.kind == "pool":
                value = average_pool(value, along_axes(layer.kernel))
            elif layer.kind == "max_pool":
                if self.cpu_convs:
                    value = max_pool(value)
                else:
                    value = nnx.max_pool(value, (3, 3), (2, 2), ((1, 1), (1, 1)))
            elif layer.kind == "mean":
                main = branches["main"]
                pixels = tuple(range(1, main.ndim - 1))
                value = main.mean(pixels, keepdims=True, dtype=jnp.float32)
            elif layer.kind == "fork":
                value = branches[layer.function or "main"]
                if layer.c_out < layer.c_in:
                    value = value[..., -layer.c_out :]
            elif layer.kind == "join":
                branches["main"] += _beside_class_token(value) if layer.extra else value
            elif layer.kind == "pad":
                value = value[:, :: layer.stride, :: layer.stride]
                value = jnp.pad(value, ((0, 0), (0, 0), (0, 0), (0, layer.c_out - layer.c_in)))
            elif layer.kind == "scale":
                branches["main"] *= value
            elif layer.kind == "add":
                value = value if keep is None else value * keep[additions]
                value += branches["shortcut"]
                additions += 1
            elif layer.kind == "dense":
                value = self.layers[name](value.reshape(value.shape[0], -1))
            elif layer.kind in tokens.RULES:
                module = None if name is None else self.layers[name]
                value = tokens.RULES[layer.kind](layer, module, branches, odd)
            else:
                raise NotImplementedError(f"no rule for a layer of kind {layer.kind!r}")
            branches[layer.branch] = value
        return (branches["main"], branches["words"]) if "words" in branches else value


def _beside_class_token(x: jax.Array) -> jax.Array:
    """A map as a row of tokens after one that is zero."""
    row = x.reshape(x.shape[0], 1, -1, x.shape[-1])
    return jnp.pad(row, ((0, 0), (0, 0), (1, 0), (0, 0)))


def average_pool(x: jax.Array, window: tuple[int, ...] = (2, 2)) -> jax.Array:
    """Average pool over windows side by side, 1 or 2 along each axis, to ``ceil(H / 2)`` and so on.

    At an odd edge the average is over the pixels that exist, so a constant map stays constant.
    """
    padding = tuple((0, -size % step) for size, step in zip(x.shape[1:-1], window, strict=True))
    return nnx.avg_pool(x, window, window, padding, count_include_pad=False).astype(x.dtype)


class LayerScale(nnx.Module):
    """A learned factor for each channel."""

    def __init__(self, channels: int):
        self.scale = nnx.Param(jnp.full((channels,), LAYER_SCALE, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """``x`` times the factors, float32 where ``x`` is narrower."""
        return x * self.scale[...]


@dataclasses.dataclass(frozen=True)
class _Settings:
    """Arguments of a `Block` that its layers are made with."""

    rngs: nnx.Rngs
    dtype: jnp.dtype
    batch_norm_momentum: float
    cpu_convs: bool
    axes: int


def _conv(layer: Layer, settings: _Settings) -> nnx.Conv:
    convolve = conv_for_cpu if settings.cpu_convs else jax.lax.conv_general_dilated
    kernel = along_axes(layer.kernel, settings.axes)
    if layer.kernel_w:
        kernel = (layer.kernel, layer.kernel_w)
    around = tuple(((size - 1) // 2, (size - 1) // 2) for size in kernel)
    return nnx.Conv(
        layer.c_in,
        layer.c_out,
        kernel,
        along_axes(layer.stride, settings.axes),
        # Patches side by side (kernel and stride equal) fill the map; what is missing at its edges
        # is zeros, where PyTorch would drop the incomplete patches.
        padding="SAME" if layer.kernel == layer.stride else around,
        feature_group_count=layer.groups,
        use_bias=layer.bias,
        dtype=settings.dtype,
        kernel_init=jax.nn.initializers.zeros,
        conv_general_dilated=convolve,
        rngs=settings.rngs,
    )


def _norm(layer: Layer, settings: _Settings) -> BatchNorm:
    return BatchNorm(
        layer.c_out,
        # Flax's momentum is the share of the old statistics, ours (and PyTorch's) of the new batch.
        momentum=1.0 - settings.batch_norm_momentum,
        epsilon=EPSILON,
        # Not the block's dtype: Flax would round the running statistics to bfloat16 before use.
        dtype=jnp.float32,
        rngs=settings.rngs,
    )


def _layer_norm(layer: Layer, settings: _Settings) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        layer.c_out,
        epsilon=layer.epsilon,
        # Flax's fast variance, mean(x^2) - mean(x)^2, cancels where the mean is large.
        use_fast_variance=False,
        dtype=jnp.float32,
        rngs=settings.rngs,
    )


def _layer_scale(layer: Layer, settings: _Settings) -> LayerScale:
    return LayerScale(layer.c_out)


def _dense(layer: Layer, settings: _Settings) -> nnx.Linear:
    # float32 always: a thousandth of the work, and logits keep their digits.
    return nnx.Linear(
        layer.c_in,
        layer.c_out,
        dtype=jnp.float32,
        kernel_init=jax.nn.initializers.zeros,
        rngs=settings.rngs,
    )


def _bias_table(layer: Layer, settings: _Settings) -> tokens.BiasTable:
    return tokens.BiasTable(layer.window, layer.heads)


def _positions(layer: Layer, settings: _Settings) -> tokens.Positions:
    return tokens.positions(layer)


def _features(layer: Layer, settings: _Settings) -> tokens.Features:
    return tokens.Features(layer.c_out)


MODULES = {
    "conv": _conv,
    "norm": _norm,
    "layer_norm": _layer_norm,
    "layer_scale": _layer_scale,
    "dense": _dense,
    "window_attention": _bias_table,
    "position": _positions,
    "performer": _features,
}
"""Layer kind -> its module, for the kinds that hold parameters."""
