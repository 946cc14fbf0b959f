"""What detectors have on a backbone, as ONNX ops: pyramid, branches of a dense head, GroupNorm.

Maps have channels first and sizes that are known, with every pixel on the image.
"""

import numpy as np

from deepmad_jax.interop.onnx_ops import PAST_ANY_END
from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.nets.fpn import FPN
from deepmad_jax.nets.parts import GROUP_NORM_EPSILON, GroupNorm
from deepmad_jax.tasks.detect.tower import Branch
from deepmad_jax.tasks.onnx_parts import shared, write_conv

Size = tuple[int, int]


def write_pyramid(graph: Graph, neck: FPN, maps: list[str], sizes: list[Size]) -> list[str]:
    """The pyramid's maps; ``sizes`` are of the maps that it is given."""
    merged = [
        write_conv(graph, f"neck.lateral{i}", conv, x)
        for i, (conv, x) in enumerate(zip(neck.laterals, maps, strict=True))
    ]
    for i in reversed(range(len(merged) - 1)):
        whole = graph.integers(*sizes[i])
        shape = graph.op("Shape", [merged[i]])
        kept = graph.op("Slice", [shape, graph.integers(0), graph.integers(2)])
        target = graph.op("Concat", [kept, whole], axis=0)
        larger = graph.op(
            "Resize",
            [merged[i + 1], "", "", target],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        merged[i] = graph.op("Add", [merged[i], larger])
    out = [
        write_conv(graph, f"neck.output{i}", conv, x)
        for i, (conv, x) in enumerate(zip(neck.outputs, merged, strict=True))
    ]
    if not neck.extra.convs:
        last, axes = out[-1], graph.integers(2, 3)
        for i in range(1, neck.extra.count + 1):
            steps = graph.integers(2**i, 2**i)
            ends = graph.integers(PAST_ANY_END, PAST_ANY_END)
            out.append(graph.op("Slice", [last, graph.integers(0, 0), ends, axes, steps]))
    for i, conv in enumerate(neck.above):
        x = graph.op("Relu", [out[-1]]) if neck.extra.relu and i else out[-1]
        out.append(write_conv(graph, f"neck.above{i}", conv, x))
    return out


def write_branch(graph: Graph, prefix: str, branch: Branch, value: str, size: Size) -> str:
    """Convs, GroupNorm and ReLU."""
    for i, (conv, norm) in enumerate(zip(branch.convs, branch.norms, strict=True)):
        value = write_conv(graph, f"{prefix}.conv{i}", conv, value)
        value = graph.op("Relu", [_group_norm(graph, f"{prefix}.norm{i}", norm, value, size)])
    return value


def _group_norm(graph: Graph, name: str, norm: GroupNorm, value: str, size: Size) -> str:
    channels = norm.scale[...].shape[0]
    # InstanceNormalization over groups as channels: GroupNormalization is of opset 18.
    grouped = graph.op("Reshape", [value, graph.integers(0, norm.groups, -1)])
    ones = shared(graph, f"ones_{norm.groups}", np.ones(norm.groups))
    zeros = shared(graph, f"zeros_{norm.groups}", np.zeros(norm.groups))
    normal = graph.op("InstanceNormalization", [grouped, ones, zeros], epsilon=GROUP_NORM_EPSILON)
    back = graph.op("Reshape", [normal, graph.integers(0, channels, *size)])
    scale = shared(graph, f"{name}.scale", np.asarray(norm.scale[...])[:, None, None])
    bias = shared(graph, f"{name}.bias", np.asarray(norm.bias[...])[:, None, None])
    return graph.op("Add", [graph.op("Mul", [back, scale]), bias])
