"""What networks on a backbone are written from as ONNX ops: the backbone's maps, and convs.

Maps have channels first.
"""

from typing import Any

import numpy as np

from deepmad_jax.arch import layer_table
from deepmad_jax.arch.rows import attends
from deepmad_jax.errors import UserError
from deepmad_jax.interop.onnx_graph import maps_in_turn, write_block
from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.nets import Network
from deepmad_jax.tasks.backbone import Backbone


def write_backbone(graph: Graph, backbone: Backbone, value: str) -> list[str]:
    """The backbone's maps, finest first.

    Raises:
        UserError: the backbone attends, and would be written for its own image size alone.
    """
    net: Network = backbone.net
    if attends(layer_table(net.arch)):
        raise UserError(
            f"The backbone {net.arch.name} attends: as ONNX its windows and positions would be "
            f"those of {net.arch.resolution} pixels, not of this task's images. Export it by "
            "StableHLO where the task has it, or take a backbone of convs."
        )
    ends: dict[str, str] = {}
    for prefix, block, repeat in maps_in_turn(net):
        value = write_block(graph, prefix, block, repeat, value)
        ends[prefix.split(".")[0]] = value
    levels = [ends["stem"]]
    for i, stage in enumerate(net.arch.stages, 1):
        if stage.stride == 1:
            levels.pop()
        levels.append(ends[f"stage{i}"])
    levels[-1] = value  # of the final conv, where there is one
    return [levels[place] for place in backbone.places]


def write_conv(graph: Graph, name: str, conv: Any, value: str) -> str:
    """A conv of `nets.parts`; its arrays are shared by all maps that it is used on."""
    kernel = np.asarray(conv.kernel[...])
    inputs = [value, shared(graph, f"{name}.weight", kernel.transpose(3, 2, 0, 1))]
    if conv.bias is not None:
        inputs.append(shared(graph, f"{name}.bias", np.asarray(conv.bias[...])))
    stride = conv.strides if isinstance(conv.strides, int) else conv.strides[0]
    return graph.op(
        "Conv",
        inputs,
        kernel_shape=list(kernel.shape[:2]),
        strides=[stride] * 2,
        pads=[(kernel.shape[0] - 1) // 2] * 4,
    )


def shared(graph: Graph, name: str, array: np.ndarray) -> str:
    """A float32 constant, added once however often it is asked for."""
    return name if name in graph.constants else graph.constant(name, array)
