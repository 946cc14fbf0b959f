"""A recogniser as ONNX or StableHLO: normalised frames of a clip to the logits of its classes.

ONNX: ``frames`` float32 ``(batch, frames, 3, height, width)`` to ``logits`` ``(batch, classes)``,
all but the channels free (of networks that attend, height and width are those of the
architecture). StableHLO: ``(batch, frames, height, width, 3)``, batch and frames free. The mean
over frames is inside, so crops of one video may be given as further frames. Networks of clips take
a multiple of their frames, as `recogniser` has it.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from deepmad_jax.arch import layer_table
from deepmad_jax.arch.rows import attends
from deepmad_jax.interop.extras import need
from deepmad_jax.interop.onnx_graph import maps_in_turn, model_of, write_block
from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.interop.stablehlo import PLATFORMS
from deepmad_jax.tasks.video.recogniser import Recogniser


def write_recogniser_onnx(net: Recogniser, path: str | Path) -> None:
    """Writes the network, which computes in float32 there; what is at ``path`` is replaced.

    Raises:
        UserError: onnx is not installed.
    """
    onnx = need("onnx", "export")
    model = to_onnx(net)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def write_recogniser_stablehlo(net: Recogniser, path: str | Path, side: int) -> None:
    """The same as one serialised function for CPU, CUDA and TPU, for frames of a side."""
    length = net.net.arch.frames
    batch, count = export.symbolic_shape(f"batch, {length}*clips" if length else "batch, frames")
    frames = jax.ShapeDtypeStruct((batch, count, side, side, 3), jnp.float32)
    function = jax.jit(lambda x: net(x))
    Path(path).write_bytes(export.export(function, platforms=PLATFORMS)(frames).serialize())


def to_onnx(net: Recogniser) -> Any:
    """The network as an `onnx.ModelProto`."""
    onnx = need("onnx", "export")
    graph, arch = Graph(onnx), net.net.arch
    shape = graph.op("Shape", ["frames"])
    batch = graph.op("Slice", [shape, graph.integers(0), graph.integers(1)])
    picture = graph.op("Slice", [shape, graph.integers(2), graph.integers(5)])
    value: Any = _seen(graph, arch.frames, batch, picture)
    for prefix, block, repeat in maps_in_turn(net.net):
        value = write_block(graph, prefix, block, repeat, value)
    value = value[0] if isinstance(value, tuple) else value  # the head sees no words
    value = write_block(graph, "head", net.net.head, None, value)
    value = graph.op("Flatten", [value], axis=1)
    width = graph.integers(-1, net.net.feature_info[-1].channels)
    value = graph.op("Reshape", [value, graph.op("Concat", [batch, width], axis=0)])
    value = graph.op("ReduceMean", [value], axes=[1], keepdims=0)
    arrays = {name: np.asarray(getattr(net.classes, name)[...]) for name in ("kernel", "bias")}
    constants = [graph.constant(f"classes.{name}", array) for name, array in arrays.items()]
    graph.nodes.append(onnx.helper.make_node("Gemm", [value, *constants], ["logits"]))
    describe, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    sides = [arch.resolution] * 2 if attends(layer_table(arch)) else ["height", "width"]
    return model_of(
        graph,
        arch.name,
        [describe("frames", floats, ["batch", "frames", 3, *sides])],
        [describe("logits", floats, ["batch", arrays["bias"].shape[0]])],
    )


def _seen(graph: Graph, length: int, batch: str, picture: str) -> str:
    """All frames as one batch of images or, where ``length`` is not 0, of clips so long."""
    if not length:
        flat = graph.op("Concat", [graph.integers(-1), picture], axis=0)
        return graph.op("Reshape", ["frames", flat])
    parts = graph.op("Concat", [batch, graph.integers(length, -1), picture], axis=0)
    clips = graph.op("Reshape", ["frames", parts])
    # To batch, clips, channels, frames, height, width.
    clips = graph.op("Transpose", [clips], perm=[0, 2, 3, 1, 4, 5])
    channels = graph.op("Slice", [picture, graph.integers(0), graph.integers(1)])
    sides = graph.op("Slice", [picture, graph.integers(1), graph.integers(3)])
    sizes = [graph.integers(-1), channels, graph.integers(length), sides]
    return graph.op("Reshape", [clips, graph.op("Concat", sizes, axis=0)])
