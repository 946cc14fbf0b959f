"""Every kind of layer as ONNX ops, channels first; what each does is said in `nets/block.py`.

A new kind of layer is one function here (of tokens, in `onnx_tokens.py`) and one entry in `OPS`, a
new activation one in
`ACTIVATIONS`. How blocks follow one another is said in `onnx_graph.py`.
"""

import math
from collections.abc import Callable
from typing import Any

from deepmad_jax.arch.rows import along_axes, num_taps
from deepmad_jax.errors import UserError
from deepmad_jax.interop.onnx_spot import Branches, Graph, Spot
from deepmad_jax.interop.onnx_tokens import (
    TOKEN_OPS,
    after_class_token,
    cut,
    each_window,
    of_windows,
)
from deepmad_jax.nets.block import EPSILON


def _conv(spot: Spot, branches: Branches) -> str:
    layer, kernel = spot.layer, spot.arrays["kernel"]
    axes = kernel.ndim - 2  # 3 where maps have frames
    order = (axes + 1, axes, *range(axes))
    weight = spot.graph.constant(f"{spot.prefix}.weight", kernel.transpose(order))
    inputs = [spot.value(branches), weight]
    if "bias" in spot.arrays:
        inputs += spot.constants("bias")
    sides = [*kernel.shape[:axes]]
    padding: dict[str, Any] = {"pads": [(side - 1) // 2 for side in sides] * 2}
    if layer.kernel == layer.stride and num_taps(layer) > 1:
        # Patches: zeros for what is missing at the edges, of which there is more at the far ones.
        padding = {"auto_pad": "SAME_UPPER"}
    if layer.window:
        inputs[0] = each_window(spot.graph, inputs[0], layer.c_in, layer.r_in, layer.window)
    out = spot.graph.op(
        "Conv",
        inputs,
        kernel_shape=sides,
        strides=[*along_axes(layer.stride, axes)],
        group=layer.groups,
        **padding,
    )
    if layer.window:
        side = layer.window // layer.stride
        return of_windows(spot.graph, out, layer.c_out, layer.r_out, side)
    return out


def _norm(spot: Spot, branches: Branches) -> str:
    inputs = [spot.value(branches), *spot.constants("scale", "bias", "mean", "var")]
    return spot.graph.op("BatchNormalization", inputs, epsilon=EPSILON)


def _layer_norm(spot: Spot, branches: Branches) -> str:
    # The op's axes are the last ones.
    last = spot.graph.op("Transpose", [spot.value(branches)], perm=[0, 2, 3, 1])
    inputs = [last, *spot.constants("scale", "bias")]
    out = spot.graph.op("LayerNormalization", inputs, axis=-1, epsilon=spot.layer.epsilon)
    return spot.graph.op("Transpose", [out], perm=[0, 3, 1, 2])


def _layer_scale(spot: Spot, branches: Branches) -> str:
    factors = spot.graph.constant(f"{spot.prefix}.scale", spot.arrays["scale"][:, None, None])
    return spot.graph.op("Mul", [spot.value(branches), factors])


def _act(spot: Spot, branches: Branches) -> str:
    function = spot.layer.function
    if function not in ACTIVATIONS:
        raise UserError(
            f"{spot.prefix}: the ONNX export does not know the activation {function!r}; it knows "
            f"{', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[function](spot.graph, spot.value(branches))


def _relu(graph: Graph, x: str) -> str:
    return graph.op("Relu", [x])


def _relu6(graph: Graph, x: str) -> str:
    return graph.op("Clip", [x, graph.number(0), graph.number(6)])


def _sigmoid(graph: Graph, x: str) -> str:
    return graph.op("Sigmoid", [x])


def _silu(graph: Graph, x: str) -> str:
    return graph.op("Mul", [x, _sigmoid(graph, x)])


def _gelu(graph: Graph, x: str) -> str:
    """``x (1 + erf(x / sqrt 2)) / 2`` in the order that ONNX Runtime fuses; Gelu is of opset 20."""
    erf = graph.op("Erf", [graph.op("Div", [x, graph.number(math.sqrt(2))])])
    doubled = graph.op("Mul", [x, graph.op("Add", [erf, graph.number(1)])])
    return graph.op("Mul", [doubled, graph.number(0.5)])


def _pool(spot: Spot, branches: Branches) -> str:
    window = [*along_axes(spot.layer.kernel)]
    return spot.graph.op(
        "AveragePool",
        [spot.value(branches)],
        kernel_shape=window,
        strides=window,
        ceil_mode=1,
        count_include_pad=0,  # the average is over the real pixels
    )


def _max_pool(spot: Spot, branches: Branches) -> str:
    inputs = [spot.value(branches)]
    return spot.graph.op("MaxPool", inputs, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)


def _mean(spot: Spot, branches: Branches) -> str:
    return spot.graph.op("GlobalAveragePool", [branches["main"]])


def _scale(spot: Spot, branches: Branches) -> str:
    branches["main"] = spot.graph.op("Mul", [branches["main"], spot.value(branches)])
    return spot.value(branches)


def _fork(spot: Spot, branches: Branches) -> str:
    layer, value = spot.layer, branches[spot.layer.function or "main"]
    if layer.c_out < layer.c_in:
        return cut(spot.graph, value, 1, layer.c_in - layer.c_out, layer.c_in)
    return value


def _join(spot: Spot, branches: Branches) -> str:
    value = spot.value(branches)
    if spot.layer.extra:
        value = after_class_token(spot.graph, value, spot.layer.c_out)
    branches["main"] = spot.graph.op("Add", [branches["main"], value])
    return value


def _pad(spot: Spot, branches: Branches) -> str:
    graph, layer, value = spot.graph, spot.layer, spot.value(branches)
    if layer.stride > 1:
        ends = graph.integers(PAST_ANY_END, PAST_ANY_END)
        axes, steps = graph.integers(2, 3), graph.integers(layer.stride, layer.stride)
        value = graph.op("Slice", [value, graph.integers(0, 0), ends, axes, steps])
    if layer.c_out == layer.c_in:
        return value
    # Before each of the four axes, then after each.
    return graph.op("Pad", [value, graph.integers(0, 0, 0, 0, 0, layer.c_out - layer.c_in, 0, 0)])


def _add(spot: Spot, branches: Branches) -> str:
    return spot.graph.op("Add", [spot.value(branches), branches["shortcut"]])


def _dense(spot: Spot, branches: Branches) -> str:
    flat = spot.graph.op("Flatten", [spot.value(branches)], axis=1)
    return spot.graph.op("Gemm", [flat, *spot.constants("kernel", "bias")])


PAST_ANY_END = 2**31 - 1
"""Where a slice to the end may say it ends, for runtimes that compute in 32 bits too."""

ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "relu": _relu,
    "relu6": _relu6,
    "silu": _silu,
    "gelu": _gelu,
    "sigmoid": _sigmoid,
}
"""Function of an ``act`` -> what writes it, given its input, and returns the name of its output."""

OPS: dict[str, Callable[[Spot, Branches], str]] = {
    "conv": _conv,
    "norm": _norm,
    "layer_norm": _layer_norm,
    "layer_scale": _layer_scale,
    "act": _act,
    "pool": _pool,
    "max_pool": _max_pool,
    "mean": _mean,
    "dense": _dense,
    "scale": _scale,
    "fork": _fork,
    "pad": _pad,
    "add": _add,
    "join": _join,
    **TOKEN_OPS,
}
"""Layer kind -> what writes it, given each branch's value, and returns the name of its output."""
