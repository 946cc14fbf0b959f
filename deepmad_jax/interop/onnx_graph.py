"""A `Network` as an ONNX model, op by op from the plans of its blocks.

Input ``images``: float32 ``(batch, channels, height, width)``, all but channels free, of networks
with attention only the batch; of a network of clips ``clips``, ``(batch, channels, frames, height,
width)``; output ``logits``. The rules for branches are those of
`nets/block.py`; how each kind of layer is written stands in `onnx_ops.py`. Computation is in
float32 whatever the network's dtype.

Not here: a conversion of arbitrary JAX programs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.arch import layer_table
from deepmad_jax.arch.rows import attends
from deepmad_jax.errors import UserError
from deepmad_jax.interop.extras import need
from deepmad_jax.interop.onnx_ops import OPS
from deepmad_jax.interop.onnx_spot import Graph, Spot
from deepmad_jax.nets import Network
from deepmad_jax.nets.block import Block

OPSET = 17
"""Of 2022: old enough for the runtimes in use, new enough for every op here."""


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
    if net.norms is not None:
        raise UserError(
            f"{net.arch.name} is a backbone (stage_norms) without logits: export the detector that "
            "it is part of, or a network with a classifier."
        )
    onnx = need("onnx", "export")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = Graph(onnx)
    given = "clips" if net.arch.frames else "images"
    value: str | tuple[str, str] = given
    for prefix, block, repeat in maps_in_turn(net):
        value = write_block(graph, prefix, block, repeat, value)
    value = value[0] if isinstance(value, tuple) else value  # the head sees no words
    value = write_block(graph, "head", net.head, None, value)
    graph.nodes.append(helper.make_node("Flatten", [value], ["logits"], axis=1))
    sides = [*net.arch.size_px] if attends(layer_table(net.arch)) else ["height", "width"]
    frames = ["frames"] if net.arch.frames else []
    shape = ["batch", net.arch.in_channels, *frames, *sides]
    outputs = net.arch.classes if _has_classifier(net) else net.feature_info[-1].channels
    return model_of(
        graph,
        net.arch.name,
        [helper.make_tensor_value_info(given, floats, shape)],
        [helper.make_tensor_value_info("logits", floats, ["batch", outputs])],
    )


def model_of(graph: Graph, name: str, inputs: list[Any], outputs: list[Any]) -> Any:
    """The `onnx.ModelProto` of a graph whose inputs and outputs are described."""
    helper = graph.onnx.helper
    constants = list(graph.constants.values())
    proto = helper.make_graph(graph.nodes, name, inputs, outputs, constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        proto,
        opset_imports=opsets,
        # onnx's default is its newest, which runtimes a few months old refuse.
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="deepmad_jax",
    )


def maps_in_turn(net: Network) -> Iterator[tuple[str, Block, int | None]]:
    """Every block before the head with a name: what `Network.features` runs.

    ``repeat`` is a block's place on a stacked block's axis.
    """
    yield "stem", net.stem, None
    for i, stage in enumerate(net.stages, 1):
        yield f"stage{i}.0", stage.first, None
        if stage.rest is not None:
            for repeat in range(net.arch.stages[i - 1].depth - 1):
                yield f"stage{i}.{repeat + 1}", stage.rest, repeat
    if net.final is not None:
        yield "final", net.final, None


def write_block(graph: Graph, prefix: str, block: Block, repeat: int | None, value: Any) -> Any:
    """The ops of one block; returns the name of its output. The rules of `nets.block.Block`.

    With TNT's words, inputs and outputs are pairs of names.
    """
    main, *words = value if isinstance(value, tuple) else (value,)
    branches = {"main": main, "shortcut": main} | ({"words": words[0]} if words else {})
    out = main
    odd = repeat is not None and repeat % 2 == 0  # the first block of a stage has no repeat
    for name, layer in block.plan:
        if layer.kind not in OPS:
            raise UserError(
                f"{prefix} has a layer of kind {layer.kind!r}, which the ONNX export does not "
                f"know; it knows {', '.join(OPS)}."
            )
        arrays = _arrays(block.layers[name], repeat) if name is not None else {}
        spot = Spot(graph, f"{prefix}.{name or layer.kind}", layer, arrays, odd)
        out = OPS[layer.kind](spot, branches)
        branches[layer.branch] = out
    return (branches["main"], branches["words"]) if "words" in branches else out


def _arrays(module: Any, repeat: int | None) -> dict[str, np.ndarray]:
    names = ("kernel", "bias", "scale", "mean", "var", "table", "token", "directions")
    found = {name: getattr(module, name, None) for name in names}
    arrays = {name: np.asarray(value[...]) for name, value in found.items() if value is not None}
    return arrays if repeat is None else {name: a[repeat] for name, a in arrays.items()}


def _has_classifier(net: Network) -> bool:
    return any(layer.kind == "dense" for _, layer in net.head.plan)
