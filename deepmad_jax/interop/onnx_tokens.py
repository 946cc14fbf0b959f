"""The layer kinds of tokens as ONNX ops, channels first; what each does says `nets/tokens.py`.

Sizes are those of the rows, so the file is for images of the architecture's resolution only; the
batch is free. A row of tokens with a class token is a map of one pixel's height.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from deepmad_jax.arch.rows import sides_of
from deepmad_jax.interop.onnx_spot import Branches, Graph, Spot
from deepmad_jax.nets.tokens import MASK, PERFORMER_EPSILON, apart, relative_positions


def each_window(graph: Graph, x: str, channels: int, px: int, side: int) -> str:
    """The windows of a map as maps of their own, on the axis of the batch."""
    count = px // side
    x = _reshape(graph, x, -1, channels, count, side, count, side)
    x = graph.op("Transpose", [x], perm=[0, 2, 4, 1, 3, 5])
    return _reshape(graph, x, -1, channels, side, side)


def of_windows(graph: Graph, x: str, channels: int, px: int, side: int) -> str:
    """The inverse of `each_window`."""
    count = px // side
    x = _reshape(graph, x, -1, count, count, channels, side, side)
    x = graph.op("Transpose", [x], perm=[0, 3, 1, 4, 2, 5])
    return _reshape(graph, x, -1, channels, px, px)


def cut(graph: Graph, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
    """Part of one axis."""
    places = (graph.integers(number) for number in (start, end, axis, step))
    return graph.op("Slice", [x, *places])


def after_class_token(graph: Graph, x: str, channels: int) -> str:
    """A map as a row of tokens, after one that is zero."""
    row = _reshape(graph, x, 0, channels, 1, -1)
    return graph.op("Pad", [row, graph.integers(0, 0, 0, 1, 0, 0, 0, 0)])


def _attention(spot: Spot, branches: Branches) -> str:
    layer, graph = spot.layer, spot.graph
    own = layer.c_in // layer.c_out
    parts = _split(graph, spot.value(branches), own, layer.c_out)
    if own < 3:
        parts += _split(graph, branches["keys"], 3 - own, layer.c_out)
    if not layer.window:
        sides = (1, layer.r_out**2 + 1) if layer.extra else sides_of(layer.r_out)
        return _reshape(graph, _attend(spot, *parts), 0, layer.c_out, *sides)
    parts = [each_window(graph, part, layer.c_out, layer.r_in, layer.window) for part in parts]
    out = _reshape(graph, _attend(spot, *parts), -1, layer.c_out, layer.window, layer.window)
    return of_windows(graph, out, layer.c_out, layer.r_out, layer.window)


def _window_attention(spot: Spot, branches: Branches) -> str:
    layer, graph = spot.layer, spot.graph
    side, px, shift = layer.window, layer.r_in, layer.shift
    shifts = spot.odd and shift and (layer.function == "always" or px > side)
    bias = spot.arrays["table"][relative_positions(side)].transpose(2, 0, 1)[None]
    x = spot.value(branches)
    if shifts:
        x = _roll(graph, x, px, shift)
        bias = bias + MASK * apart(px, px, side, shift)[:, None]
    parts = _split(graph, x, 3, layer.c_out)
    parts = [each_window(graph, part, layer.c_out, px, side) for part in parts]
    constant = graph.constant(f"{spot.prefix}.bias", bias)
    out = _reshape(graph, _attend(spot, *parts, bias=constant), -1, layer.c_out, side, side)
    out = of_windows(graph, out, layer.c_out, px, side)
    return _roll(graph, out, px, px - shift) if shifts else out


def _performer(spot: Spot, branches: Branches) -> str:
    layer, graph = spot.layer, spot.graph
    parts = _split(graph, spot.value(branches), 3, layer.c_out)
    k, q, v = (_reshape(graph, part, 0, layer.c_out, -1) for part in parts)
    directions = spot.arrays["directions"]
    matrix = graph.constant(f"{spot.prefix}.directions", directions)

    def features(z: str) -> str:
        length = graph.op("ReduceSum", [graph.op("Mul", [z, z]), graph.integers(1)], keepdims=1)
        half = graph.op("Mul", [length, graph.number(0.5)])
        power = graph.op("Exp", [graph.op("Sub", [graph.op("MatMul", [matrix, z]), half])])
        return graph.op("Mul", [power, graph.number(1 / math.sqrt(len(directions)))])

    keys, queries = features(k), features(q)
    values = graph.op("MatMul", [v, graph.op("Transpose", [keys], perm=[0, 2, 1])])
    summed = graph.op("ReduceSum", [keys, graph.integers(2)], keepdims=1)
    total = graph.op("Mul", [queries, summed])
    total = graph.op("ReduceSum", [total, graph.integers(1)], keepdims=1)
    total = graph.op("Add", [total, graph.number(PERFORMER_EPSILON)])
    out = graph.op("Div", [graph.op("MatMul", [values, queries]), total])
    return _reshape(graph, out, 0, layer.c_out, layer.r_out, layer.r_out)


def _unfold(spot: Spot, branches: Branches) -> str:
    layer, graph = spot.layer, spot.graph
    kernel, stride, size = layer.kernel, layer.stride, layer.r_out
    before = (kernel - stride + 1) // 2
    after = max((size - 1) * stride + kernel - layer.r_in - before, 0)
    x = spot.value(branches)
    if before or after:
        x = graph.op("Pad", [x, graph.integers(0, 0, before, before, 0, 0, after, after)])
    taps = [(i, j) for i in range(kernel) for j in range(kernel)]
    if layer.function == "columns":
        taps = [(i, j) for j, i in taps]
    length = (size - 1) * stride + 1
    rows = [cut(graph, x, 2, i, i + length, stride) for i in range(kernel)]
    parts = [cut(graph, rows[i], 3, j, j + length, stride) for i, j in taps]
    if layer.function != "channels":
        return graph.op("Concat", parts, axis=1)
    parts = [graph.op("Unsqueeze", [part, graph.integers(2)]) for part in parts]
    return _reshape(graph, graph.op("Concat", parts, axis=2), 0, layer.c_out, size, size)


def _fill(spot: Spot, branches: Branches) -> str:
    missing = -spot.layer.r_in % spot.layer.kernel
    pads = spot.graph.integers(0, 0, 0, 0, 0, 0, missing, missing)
    value = spot.value(branches)
    return spot.graph.op("Pad", [value, pads]) if missing else value


def _crop(spot: Spot, branches: Branches) -> str:
    layer, graph, x = spot.layer, spot.graph, spot.value(branches)
    if layer.r_in == layer.r_out:
        return x
    return cut(graph, cut(graph, x, 2, 0, layer.r_out), 3, 0, layer.r_out)


def _position(spot: Spot, branches: Branches) -> str:
    layer, graph, table = spot.layer, spot.graph, spot.arrays["table"]
    side = math.isqrt(table.shape[1])
    places = table[:, layer.extra :].reshape(1, side, side, layer.c_out).transpose(0, 3, 1, 2)
    if layer.function == "tile":
        places = np.tile(places, (1, 1, layer.r_out // side, layer.r_out // side))
    x = graph.op("Add", [spot.value(branches), graph.constant(f"{spot.prefix}.table", places)])
    if not layer.extra:
        return x
    row = _reshape(graph, x, 0, layer.c_out, 1, -1)
    token = (spot.arrays["token"] + table[:, :1]).transpose(0, 2, 1)[:, :, None]
    first = graph.constant(f"{spot.prefix}.token", token)
    batch = cut(graph, graph.op("Shape", [x]), 0, 0, 1)
    shape = graph.op("Concat", [batch, graph.integers(layer.c_out, 1, 1)], axis=0)
    return graph.op("Concat", [graph.op("Expand", [first, shape]), row], axis=3)


def _pick(spot: Spot, branches: Branches) -> str:
    return cut(spot.graph, branches["main"], 3, 0, 1)


TOKEN_OPS: dict[str, Callable[[Spot, Branches], str]] = {
    "attention": _attention,
    "window_attention": _window_attention,
    "performer": _performer,
    "unfold": _unfold,
    "fill": _fill,
    "crop": _crop,
    "trim": _crop,
    "position": _position,
    "pick": _pick,
}
"""Layer kind -> what writes it."""


def _attend(spot: Spot, q: str, k: str, v: str, bias: str | None = None) -> str:
    """Heads one after the other as channels, shape (windows, heads, channels a head, tokens)."""
    layer, graph = spot.layer, spot.graph
    width = layer.c_out // layer.heads
    q, k, v = (_reshape(graph, part, 0, layer.heads, width, -1) for part in (q, k, v))
    scale = width**-0.5 if layer.scale is None else layer.scale
    q = graph.op("Mul", [graph.op("Transpose", [q], perm=[0, 1, 3, 2]), graph.number(scale)])
    logits = graph.op("MatMul", [q, k])
    if bias is not None:
        # Windows of an image apart from the batch, so that each meets its own mask.
        tokens, windows = layer.window**2, (layer.r_in // layer.window) ** 2
        apart_of_batch = (-1, windows, layer.heads, tokens, tokens)
        logits = graph.op("Add", [_reshape(graph, logits, *apart_of_batch), bias])
        logits = _reshape(graph, logits, -1, layer.heads, tokens, tokens)
    shares = graph.op("Softmax", [logits], axis=-1)
    return graph.op("MatMul", [v, graph.op("Transpose", [shares], perm=[0, 1, 3, 2])])


def _split(graph: Graph, x: str, count: int, channels: int) -> list[str]:
    if count == 1:
        return [x]
    return [cut(graph, x, 1, i * channels, (i + 1) * channels) for i in range(count)]


def _roll(graph: Graph, x: str, px: int, shift: int) -> str:
    """The map moved up and left by so many pixels, around the edges."""
    for axis in (2, 3):
        parts = [cut(graph, x, axis, shift, px), cut(graph, x, axis, 0, shift)]
        x = graph.op("Concat", parts, axis=axis)
    return x


def _reshape(graph: Graph, x: str, *shape: Any) -> str:
    return graph.op("Reshape", [x, graph.integers(*(int(size) for size in shape))])
