"""A segmenter for images of one size as ONNX or StableHLO: normalised images to logits of pixels.

ONNX: ``images`` float32 ``(batch, 3, height, width)`` to ``logits`` ``(batch, classes, height,
width)``. StableHLO: ``(batch, height, width, 3)`` to ``(batch, height, width, classes)``. The batch
is free; the class of a pixel is the argmax. BatchNorm stays as it is, the auxiliary head goes.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from deepmad_jax.interop.extras import need
from deepmad_jax.interop.onnx_graph import model_of
from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.interop.stablehlo import PLATFORMS
from deepmad_jax.nets.block import EPSILON
from deepmad_jax.nets.parts import LAYER_NORM_EPSILON, ConvNorm
from deepmad_jax.nets.resize import averaging, resized
from deepmad_jax.tasks.onnx_parts import shared, write_backbone, write_conv
from deepmad_jax.tasks.segment.segmenter import STRIDES, Segmenter
from deepmad_jax.tasks.segment.upernet import UperHead

Size = tuple[int, int]


def write_segmenter_onnx(net: Segmenter, path: str | Path, size: Size) -> None:
    """Writes the network for images of a height and width; what is at ``path`` is replaced.

    Raises:
        UserError: onnx is not installed.
    """
    onnx = need("onnx", "export")
    model = to_onnx(net, size)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def write_segmenter_stablehlo(net: Segmenter, path: str | Path, size: Size) -> None:
    """The same as one serialised function for CPU, CUDA and TPU."""
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)
    function = jax.jit(lambda x: resized(net(x), size))
    Path(path).write_bytes(export.export(function, platforms=PLATFORMS)(images).serialize())


def to_onnx(net: Segmenter, size: Size) -> Any:
    """The network as an `onnx.ModelProto`."""
    onnx = need("onnx", "export")
    graph = Graph(onnx)
    sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in STRIDES]
    maps = write_backbone(graph, net.backbone, "images")
    for i, norm in enumerate(net.norms):
        maps[i] = _layer_norm(graph, f"norm{i}", norm, maps[i])
    logits = _resized(graph, _write_head(graph, net.head, maps, sizes), sizes[0], size)
    graph.nodes.append(onnx.helper.make_node("Identity", [logits], ["logits"]))
    describe, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    classes = net.head.classes.kernel[...].shape[-1]
    return model_of(
        graph,
        net.backbone.net.arch.name,
        [describe("images", floats, ["batch", 3, *size])],
        [describe("logits", floats, ["batch", classes, *size])],
    )


def _write_head(graph: Graph, head: UperHead, maps: list[str], sizes: list[Size]) -> str:
    """`UperHead` op by op."""
    *finer, coarsest = maps
    seen = [coarsest]
    for side, part in zip(head.pools, head.pooled, strict=True):
        x = _pooled(graph, coarsest, side, sizes[-1])
        x = _conv_norm(graph, f"head.pooled{side}", part, x)
        seen.append(_resized(graph, x, (side, side), sizes[-1]))
    merged = [
        _conv_norm(graph, f"head.lateral{i}", part, x)
        for i, (part, x) in enumerate(zip(head.laterals, finer, strict=True))
    ]
    whole = graph.op("Concat", seen, axis=1)
    merged.append(_conv_norm(graph, "head.context", head.context, whole))
    for i in reversed(range(len(finer))):
        larger = _resized(graph, merged[i + 1], sizes[i + 1], sizes[i])
        merged[i] = graph.op("Add", [merged[i], larger])
    for i, part in enumerate(head.outputs):
        merged[i] = _conv_norm(graph, f"head.output{i}", part, merged[i])
    same = [_resized(graph, x, own, sizes[0]) for x, own in zip(merged, sizes, strict=True)]
    fused = _conv_norm(graph, "head.fuse", head.fuse, graph.op("Concat", same, axis=1))
    return write_conv(graph, "head.classes", head.classes, fused)


def _conv_norm(graph: Graph, name: str, part: ConvNorm, value: str) -> str:
    value = write_conv(graph, f"{name}.conv", part.conv, value)
    arrays = [
        shared(graph, f"{name}.{key}", np.asarray(getattr(part.norm, key)[...]))
        for key in ("scale", "bias", "mean", "var")
    ]
    return graph.op("Relu", [graph.op("BatchNormalization", [value, *arrays], epsilon=EPSILON)])


def _layer_norm(graph: Graph, name: str, norm: Any, value: str) -> str:
    # The op's axes are the last ones.
    last = graph.op("Transpose", [value], perm=[0, 2, 3, 1])
    arrays = [
        shared(graph, f"{name}.{key}", np.asarray(getattr(norm, key)[...]))
        for key in ("scale", "bias")
    ]
    out = graph.op("LayerNormalization", [last, *arrays], axis=-1, epsilon=LAYER_NORM_EPSILON)
    return graph.op("Transpose", [out], perm=[0, 3, 1, 2])


def _pooled(graph: Graph, value: str, side: int, size: Size) -> str:
    """Means over parts that may overlap, which no pooling op has: by two matrices."""
    down = shared(graph, f"rows_{side}_{size[0]}", averaging(side, size[0]))
    across = shared(graph, f"columns_{size[1]}_{side}", averaging(side, size[1]).T)
    return graph.op("MatMul", [down, graph.op("MatMul", [value, across])])


def _resized(graph: Graph, value: str, size: Size, new: Size) -> str:
    if size == new:
        return value
    shape = graph.op("Shape", [value])
    kept = graph.op("Slice", [shape, graph.integers(0), graph.integers(2)])
    target = graph.op("Concat", [kept, graph.integers(*new)], axis=0)
    return graph.op(
        "Resize",
        [value, "", "", target],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
