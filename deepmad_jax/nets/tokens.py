"""What tokens do: attention of three kinds, windows, positions, patches as channels.

The rules of the layer kinds of `arch.token_blocks`, each a function of the layer, its module (None
where it holds no arrays), the values of all branches and whether the block stands at an odd place
of its stage; it returns the value of the layer's branch. Softmax and its logits are float32.

    out = softmax(scale q k + bias + mask) v     one head; heads share the channels evenly

An attention's queries, keys and values are the parts, in this order, of its own branch and, where
these are not three, of the branch ``keys``.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.arch import Layer
from deepmad_jax.nets.resize import resize_weights

MASK = -100.0
"""Added to the logit of tokens that lie in one shifted window but not side by side in the map: not
minus infinity, as Swin was trained."""

PERFORMER_EPSILON = 1e-8

Branches = dict[str, jax.Array]


class BiasTable(nnx.Module):
    """A learned bias for each relative position in a window and each head."""

    def __init__(self, window: int, heads: int):
        self.table = nnx.Param(jnp.zeros(((2 * window - 1) ** 2, heads), jnp.float32))

    def __call__(self) -> jax.Array:
        """Shape (heads, window^2, window^2): of every query for every key."""
        rows = self.table.shape[0]
        side = (math.isqrt(rows) + 1) // 2
        return self.table[...][relative_positions(side)].transpose(2, 0, 1).astype(jnp.float32)


class Positions(nnx.Module):
    """A table of what is added to each token, and the class token if there is one."""

    def __init__(self, rows: int, channels: int, has_class: bool, fixed: np.ndarray | None):
        table = jnp.zeros((1, rows, channels), jnp.float32)
        self.table = nnx.Param(table) if fixed is None else nnx.BatchStat(jnp.asarray(fixed))
        self.token = nnx.Param(jnp.zeros((1, 1, channels), jnp.float32)) if has_class else None


class Features(nnx.Module):
    """The performer's random directions: fixed, orthogonal, each of length sqrt(m)."""

    def __init__(self, channels: int):
        count = channels // 2
        noise = np.random.default_rng(0).standard_normal((channels, count))
        rows = np.linalg.qr(noise)[0].T * math.sqrt(count)
        self.directions = nnx.BatchStat(jnp.asarray(rows, jnp.float32))


def positions(layer: Layer) -> Positions:
    """The module of a ``position``."""
    side = layer.window if layer.function == "tile" else layer.r_out
    rows = side**2 + layer.extra
    fixed = sinusoid(rows, layer.c_out) if layer.function == "sinusoid" else None
    return Positions(rows, layer.c_out, bool(layer.extra), fixed)


def sinusoid(rows: int, channels: int) -> np.ndarray:
    """Fixed positions, shape (1, rows, channels): sines at even channels, cosines at odd ones."""
    places = np.arange(channels)
    angles = np.arange(rows)[:, None] / 10000.0 ** (2 * (places // 2) / channels)
    return np.where(places % 2, np.cos(angles), np.sin(angles))[None].astype(np.float32)


def as_map(x: jax.Array, height: int, width: int) -> jax.Array:
    """Tokens as the map of so many pixels they are of; a class token is left out."""
    if x.shape[1:3] == (height, width):
        return x
    return x[:, :, -height * width :].reshape(x.shape[0], height, width, x.shape[-1])


def each_window(x: jax.Array, side: int) -> jax.Array:
    """The windows as maps of their own, ``(batch * windows, side, side, channels)``."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.swapaxes(2, 3).reshape(-1, side, side, channels)


def of_windows(x: jax.Array, height: int, width: int) -> jax.Array:
    """The inverse of `each_window`, to a map of so many pixels."""
    _, side, _, channels = x.shape
    x = x.reshape(-1, height // side, width // side, side, side, channels)
    return x.swapaxes(2, 3).reshape(-1, height, width, channels)


def _attention(layer: Layer, module: Any, branches: Branches, odd: Any) -> jax.Array:
    parts = _queries_keys_values(layer, branches)
    shape = parts[0].shape
    if layer.window:
        parts = [each_window(part, layer.window) for part in parts]
    out = _attend(*(_tokens(part) for part in parts), layer)
    if layer.window:
        windows = out.reshape(-1, layer.window, layer.window, layer.c_out)
        return of_windows(windows, shape[1], shape[2])
    return out.reshape(shape)


def _window_attention(layer: Layer, module: BiasTable, branches: Branches, odd: Any) -> jax.Array:
    x, side = branches[layer.branch], layer.window
    height, width = x.shape[1:3]
    shifts = layer.shift and (layer.function == "always" or min(height, width) > side)
    bias = module()[None]
    if shifts:
        back = (-layer.shift, -layer.shift)
        x = jnp.where(odd, jnp.roll(x, back, (1, 2)), x)
        masked = MASK * apart(height, width, side, layer.shift)[:, None]
        bias = bias + jnp.where(odd, masked, 0.0)
    parts = [_tokens(each_window(part, side)) for part in jnp.split(x, 3, -1)]
    # Bias by window of an image: the batch is the slower axis.
    bias = jnp.tile(bias, (parts[0].shape[0] // len(bias), 1, 1, 1)) if shifts else bias
    out = _attend(*parts, layer, bias).reshape(-1, side, side, layer.c_out)
    out = of_windows(out, height, width)
    if shifts:
        out = jnp.where(odd, jnp.roll(out, (layer.shift, layer.shift), (1, 2)), out)
    return out


def _performer(layer: Layer, module: Features, branches: Branches, odd: Any) -> jax.Array:
    """Attention in linear time by random features of keys and queries, in this order."""
    x = branches[layer.branch]
    k, q, v = (_tokens(part).astype(jnp.float32) for part in jnp.split(x, 3, -1))
    directions = module.directions[...]

    def features(z: jax.Array) -> jax.Array:
        length = 0.5 * jnp.square(z).sum(-1, keepdims=True)
        return jnp.exp(z @ directions.T - length) / math.sqrt(len(directions))

    keys, queries = features(k), features(q)
    total = queries @ keys.sum(1)[..., None]
    out = queries @ jnp.einsum("bnm,bnc->bmc", keys, v) / (total + PERFORMER_EPSILON)
    return out.reshape(*x.shape[:3], layer.c_out).astype(x.dtype)


def _unfold(layer: Layer, module: Any, branches: Branches, odd: Any) -> jax.Array:
    x, kernel, stride = branches[layer.branch], layer.kernel, layer.stride
    before = (kernel - stride + 1) // 2
    sizes = [-(-size // stride) for size in x.shape[1:3]]
    pads = [
        (before, max((out - 1) * stride + kernel - size - before, 0))
        for out, size in zip(sizes, x.shape[1:3], strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    taps = [(i, j) for i in range(kernel) for j in range(kernel)]
    if layer.function == "columns":
        taps = [(i, j) for j, i in taps]
    ends = [(size - 1) * stride + 1 for size in sizes]
    parts = [x[:, i : i + ends[0] : stride, j : j + ends[1] : stride] for i, j in taps]
    if layer.function == "channels":
        return jnp.stack(parts, -1).reshape(*parts[0].shape[:3], -1)
    return jnp.concatenate(parts, -1)


def _fill(layer: Layer, module: Any, branches: Branches, odd: Any) -> jax.Array:
    x = branches[layer.branch]
    pads = [(0, -size % layer.kernel) for size in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *pads, (0, 0))) if any(map(any, pads)) else x


def _crop(layer: Layer, module: Any, branches: Branches, odd: Any) -> jax.Array:
    _, height, width, _ = branches["shortcut"].shape
    return branches[layer.branch][:, :height, :width]


def _trim(layer: Layer, module: Any, branches: Branches, odd: Any) -> jax.Array:
    x = branches[layer.branch]
    height, width = (max(size // layer.kernel, 1) * layer.kernel for size in x.shape[1:3])
    return x[:, :height, :width]


def _position(layer: Layer, module: Positions, branches: Branches, odd: Any) -> jax.Array:
    x = branches[layer.branch]
    batch, height, width, channels = x.shape
    table = module.table[...]
    side = math.isqrt(table.shape[1])
    places = table[:, table.shape[1] - side**2 :].reshape(1, side, side, channels)
    if layer.function == "tile":
        places = jnp.tile(places, (1, height // side, width // side, 1))
    elif (height, width) != (side, side):
        method = "bilinear" if layer.function == "bilinear" else "bicubic"
        down, across = (resize_weights(side, size, method) for size in (height, width))
        places = jnp.einsum("hy,wx,byxc->bhwc", down, across, places, precision="highest")
    x = x + places.astype(x.dtype)
    if module.token is None:
        return x
    token = (module.token[...] + table[:, :1])[:, None].astype(x.dtype)
    first = jnp.broadcast_to(token, (batch, 1, 1, channels))
    return jnp.concatenate([first, x.reshape(batch, 1, -1, channels)], 2)


def _pick(layer: Layer, module: Any, branches: Branches, odd: Any) -> jax.Array:
    return branches["main"][:, :, :1].astype(jnp.float32)


RULES: dict[str, Callable[[Layer, Any, Branches, Any], jax.Array]] = {
    "attention": _attention,
    "window_attention": _window_attention,
    "performer": _performer,
    "unfold": _unfold,
    "fill": _fill,
    "crop": _crop,
    "trim": _trim,
    "position": _position,
    "pick": _pick,
}
"""Layer kind -> what computes the new value of its branch."""


def _queries_keys_values(layer: Layer, branches: Branches) -> list[jax.Array]:
    own = layer.c_in // layer.c_out
    parts = jnp.split(branches[layer.branch], own, -1)
    return parts + (jnp.split(branches["keys"], 3 - own, -1) if own < 3 else [])


def _attend(
    q: jax.Array, k: jax.Array, v: jax.Array, layer: Layer, bias: jax.Array | None = None
) -> jax.Array:
    """Tokens ``(batch, n, channels)``; ``bias`` broadcasts to (batch, heads, n, keys)."""
    heads, channels = layer.heads, layer.c_out
    q, k, v = (part.reshape(*part.shape[:2], heads, channels // heads) for part in (q, k, v))
    scale = (channels // heads) ** -0.5 if layer.scale is None else layer.scale
    logits = jnp.einsum("bqhc,bkhc->bhqk", q * scale, k, preferred_element_type=jnp.float32)
    shares = jax.nn.softmax(logits if bias is None else logits + bias, -1).astype(v.dtype)
    return jnp.einsum("bhqk,bkhc->bqhc", shares, v).reshape(*q.shape[:2], channels)


def _tokens(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1, x.shape[-1])


def relative_positions(side: int) -> np.ndarray:
    """Row of the table for each query and key of a window, shape (side^2, side^2)."""
    y, x = np.divmod(np.arange(side**2), side)
    down, across = y[:, None] - y + side - 1, x[:, None] - x + side - 1
    return down * (2 * side - 1) + across


def apart(height: int, width: int, side: int, shift: int) -> np.ndarray:
    """1 for tokens of one window of the rolled map that were not neighbours, (windows, n, n)."""
    down, across = (
        np.repeat([0, 1, 2], [size - side, side - shift, shift]) for size in (height, width)
    )
    bands = (3 * down[:, None] + across).reshape(height // side, side, width // side, side)
    bands = bands.swapaxes(1, 2).reshape(-1, side**2)
    return (bands[:, :, None] != bands[:, None]).astype(np.float32)
