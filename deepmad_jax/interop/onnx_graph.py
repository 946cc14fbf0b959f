"""A `Network` as an ONNX model, op by op from the plans of its blocks.

Input ``images``: float32 ``(batch, channels, height, width)``, all but channels free; output
``logits``. The rules for branches are those of `nets/block.py`; a new kind of layer is one entry in
`OPS`. Computation is in float32 whatever the network's dtype.

Not here: a conversion of arbitrary JAX programs.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.arch import Layer
from deepmad_jax.errors import UserError
from deepmad_jax.interop.extras import need
from deepmad_jax.nets import Network
from deepmad_jax.nets.block import EPSILON, Block

Branches = dict[str, str]  # branch -> name of the value it holds

OPSET = 17
"""Of 2022: old enough for the runtimes in use, new enough for every op here."""

ACTIVATIONS = {"relu": ("Relu",), "sigmoid": ("Sigmoid",), "silu": ("Sigmoid", "Mul")}
"""Function of an ``act`` -> ops in a row; a ``Mul`` is with the activation's own input."""


def write_onnx(net: Network, path: str | Path) -> None:
    """Writes the network for inference; give `Network.with_folded_batch_norm` for a folded one.

    Raises:
        UserError: onnx is not installed, or the network has a layer that no rule here covers.
    """
    onnx = need("onnx", "export")
    model = to_onnx(net)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def to_onnx(net: Network) -> Any:
    """The network as an `onnx.ModelProto`; see `write_onnx`."""
    onnx = need("onnx", "export")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = _Graph(onnx)
    value = "images"
    for prefix, block, repeat in _blocks_in_turn(net):
        value = _block(graph, prefix, block, repeat, value)
    graph.nodes.append(helper.make_node("Flatten", [value], ["logits"], axis=1))
    shape = ["batch", net.arch.in_channels, "height", "width"]
    outputs = net.arch.classes if _has_classifier(net) else net.feature_info[-1].channels
    proto = helper.make_graph(
        graph.nodes,
        net.arch.name,
        [helper.make_tensor_value_info("images", floats, shape)],
        [helper.make_tensor_value_info("logits", floats, ["batch", outputs])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        proto,
        opset_imports=opsets,
        # onnx's default is its newest, which runtimes a few months old refuse.
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="deepmad_jax",
    )


@dataclasses.dataclass
class _Graph:
    """The nodes and constants so far."""

    onnx: Any
    nodes: list[Any] = dataclasses.field(default_factory=list)
    constants: list[Any] = dataclasses.field(default_factory=list)

    def op(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node; returns the name of its one output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        array = np.ascontiguousarray(array, np.float32)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name


@dataclasses.dataclass(frozen=True)
class _Spot:
    """Where a layer is being written: its arrays (by our name), and a prefix for their names."""

    graph: _Graph
    prefix: str
    layer: Layer
    arrays: dict[str, np.ndarray]

    def value(self, branches: Branches) -> str:
        """What the layer's own branch holds."""
        return branches[self.layer.branch]

    def constant(self, name: str, array: np.ndarray) -> str:
        return self.graph.constant(f"{self.prefix}.{name}", array)


def _blocks_in_turn(net: Network) -> Iterator[tuple[str, Block, int | None]]:
    """Every block in order with a name; ``repeat`` is its place on a stacked block's axis."""
    yield "stem", net.stem, None
    for i, stage in enumerate(net.stages, 1):
        yield f"stage{i}.0", stage.first, None
        if stage.rest is not None:
            for repeat in range(net.arch.stages[i - 1].depth - 1):
                yield f"stage{i}.{repeat + 1}", stage.rest, repeat
    if net.final is not None:
        yield "final", net.final, None
    yield "head", net.head, None


def _block(graph: _Graph, prefix: str, block: Block, repeat: int | None, value: str) -> str:
    """The ops of one block; returns the name of its output. The rules of `nets.block.Block`."""
    branches = {"main": value, "shortcut": value}
    out = value
    for name, layer in block.plan:
        if layer.kind not in OPS:
            raise UserError(
                f"{prefix} has a layer of kind {layer.kind!r}, which the ONNX export does not "
                f"know; it knows {', '.join(OPS)}."
            )
        arrays = _arrays(block.layers[name], repeat) if name is not None else {}
        spot = _Spot(graph, f"{prefix}.{name}", layer, arrays)
        out = OPS[layer.kind](spot, branches)
        branches[layer.branch] = out
    return out


def _arrays(module: Any, repeat: int | None) -> dict[str, np.ndarray]:
    names = ("kernel", "bias", "scale", "mean", "var")
    found = {name: getattr(module, name, None) for name in names}
    arrays = {name: np.asarray(value[...]) for name, value in found.items() if value is not None}
    return arrays if repeat is None else {name: a[repeat] for name, a in arrays.items()}


def _conv(spot: _Spot, branches: Branches) -> str:
    layer, kernel = spot.layer, spot.arrays["kernel"]
    inputs = [spot.value(branches), spot.constant("weight", kernel.transpose(3, 2, 0, 1))]
    if "bias" in spot.arrays:
        inputs.append(spot.constant("bias", spot.arrays["bias"]))
    return spot.graph.op(
        "Conv",
        inputs,
        kernel_shape=[layer.kernel] * 2,
        strides=[layer.stride] * 2,
        pads=[(layer.kernel - 1) // 2] * 4,
        group=layer.groups,
    )


def _norm(spot: _Spot, branches: Branches) -> str:
    names = ("scale", "bias", "mean", "var")
    inputs = [spot.value(branches), *(spot.constant(name, spot.arrays[name]) for name in names)]
    return spot.graph.op("BatchNormalization", inputs, epsilon=EPSILON)


def _act(spot: _Spot, branches: Branches) -> str:
    function = spot.layer.function
    if function not in ACTIVATIONS:
        raise UserError(
            f"{spot.prefix}: the ONNX export does not know the activation {function!r}; it knows "
            f"{', '.join(ACTIVATIONS)}."
        )
    out = value = spot.value(branches)
    for kind in ACTIVATIONS[function]:
        out = spot.graph.op(kind, [value, out] if kind == "Mul" else [out])
    return out


def _pool(spot: _Spot, branches: Branches) -> str:
    return spot.graph.op(
        "AveragePool",
        [spot.value(branches)],
        kernel_shape=[2, 2],
        strides=[2, 2],
        ceil_mode=1,
        count_include_pad=0,  # the average is over the real pixels
    )


def _mean(spot: _Spot, branches: Branches) -> str:
    return spot.graph.op("GlobalAveragePool", [branches["main"]])


def _scale(spot: _Spot, branches: Branches) -> str:
    branches["main"] = spot.graph.op("Mul", [branches["main"], spot.value(branches)])
    return spot.value(branches)


def _add(spot: _Spot, branches: Branches) -> str:
    return spot.graph.op("Add", [spot.value(branches), branches["shortcut"]])


def _dense(spot: _Spot, branches: Branches) -> str:
    flat = spot.graph.op("Flatten", [spot.value(branches)], axis=1)
    names = ("kernel", "bias")
    inputs = [flat, *(spot.constant(name, spot.arrays[name]) for name in names)]
    return spot.graph.op("Gemm", inputs)


OPS: dict[str, Callable[[_Spot, Branches], str]] = {
    "conv": _conv,
    "norm": _norm,
    "act": _act,
    "pool": _pool,
    "mean": _mean,
    "dense": _dense,
    "scale": _scale,
    "add": _add,
}
"""Layer kind -> what writes it, given each branch's value, and returns the name of its output."""


def _has_classifier(net: Network) -> bool:
    return any(layer.kind == "dense" for _, layer in net.head.plan)
