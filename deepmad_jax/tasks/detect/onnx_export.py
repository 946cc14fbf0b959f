"""A detector as an ONNX model, with suppression in it or without.

Input ``images``: float32 ``(batch, 3, height, width)``, normalised as `canvas.on_canvas` does,
of the one size that the model is made for, all of it image.

With suppression the batch is 1: ``boxes`` ``(found, 4)`` in pixels, ``scores`` and ``labels``
``(found,)``, by falling score, and of detectors with masks ``masks`` ``(found, 28, 28)``,
probabilities in each box.

Without, a dense detector gives ``boxes`` ``(batch, places, 4)`` and ``scores`` ``(batch, places,
classes)``, 0 for what is not worth suppressing. One that proposes boxes first gives, of one image,
``boxes`` ``(classes, proposals, 4)`` and ``scores`` ``(classes, proposals)``; its proposals are
suppressed all the same, since without it they would be others. Which boxes have masks is not known
before suppression, so it also gives the maps ``map4`` to ``map32`` that a second model takes, with
the ``boxes`` ``(found, 4)`` and ``labels`` ``(found,)`` that were kept, to ``masks``.
"""

from pathlib import Path
from typing import Any

from deepmad_jax.interop.extras import need
from deepmad_jax.interop.onnx_graph import model_of
from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.tasks.detect import fcos, onnx_dense, onnx_two_stage, two_stage
from deepmad_jax.tasks.detect.dense import STRIDES, DenseDetector
from deepmad_jax.tasks.detect.onnx_parts import Size, write_pyramid
from deepmad_jax.tasks.detect.roi_heads import MASK_PX
from deepmad_jax.tasks.detect.two_stage import TwoStageDetector
from deepmad_jax.tasks.onnx_parts import write_backbone


def write_detector(net: Any, path: str | Path, size: Size, suppress: bool) -> list[Path]:
    """Writes a detector for images of one size; returns the files.

    Args:
        net: a `DenseDetector` or a `TwoStageDetector`.
        path: what is there is replaced; the model of the masks, where they need one of their own,
            is called NAME_masks.onnx.
        size: height and width, multiples of 32.
        suppress: put non-maximum suppression into the model.
    Raises:
        UserError: onnx is not installed, or the backbone has a layer that is not exported.
    """
    onnx = need("onnx", "export")
    path = Path(path)
    models = {path: to_onnx(net, size, suppress)}
    if isinstance(net, TwoStageDetector) and not suppress:
        models[path.with_name(f"{path.stem}_masks{path.suffix}")] = masks_to_onnx(net, size)
    for out, model in models.items():
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(out))
    return list(models)


def to_onnx(net: DenseDetector | TwoStageDetector, size: Size, suppress: bool) -> Any:
    """The detector as an `onnx.ModelProto`; see `write_detector`."""
    graph = Graph(need("onnx", "export"))
    dense = isinstance(net, DenseDetector)
    sizes = _sizes(size, STRIDES if dense else two_stage.STRIDES)
    maps = write_pyramid(graph, net.neck, write_backbone(graph, net.backbone, "images"), sizes)
    outputs = (_dense if dense else _two_stage)(graph, net, maps, size, suppress)
    batch = "batch" if dense and not suppress else 1
    inputs = [_described(graph, "images", [batch, 3, *size])]
    return model_of(graph, net.backbone.net.arch.name, inputs, outputs)


def masks_to_onnx(net: TwoStageDetector, size: Size) -> Any:
    """What gives the masks of boxes that were suppressed elsewhere, as an `onnx.ModelProto`."""
    graph = Graph(need("onnx", "export"))
    maps = [f"map{stride}" for stride in two_stage.STRIDES]
    masks = onnx_two_stage.write_masks(graph, net, maps, "boxes", "labels")
    inputs = [
        *_maps_described(graph, net, size),
        _described(graph, "boxes", ["found", 4]),
        _described(graph, "labels", ["found"], whole=True),
    ]
    outputs = [_named(graph, masks, "masks", ["found", MASK_PX, MASK_PX])]
    return model_of(graph, f"{net.backbone.net.arch.name}_masks", inputs, outputs)


def _dense(
    graph: Graph, net: DenseDetector, maps: list[str], size: Size, suppress: bool
) -> list[Any]:
    boxes, scores = onnx_dense.write_found(graph, net, maps, size)
    if suppress:
        settings = net.head.settings
        found = onnx_dense.write_suppressed(graph, boxes, scores, settings.nms_iou, settings.limit)
        return _found_named(graph, *found)
    classes = net.head.class_conv.kernel[...].shape[-1]
    places = sum(height * width for height, width in _sizes(size, fcos.STRIDES))
    return [
        _named(graph, boxes, "boxes", ["batch", places, 4]),
        _named(graph, scores, "scores", ["batch", places, classes]),
    ]


def _two_stage(
    graph: Graph, net: TwoStageDetector, maps: list[str], size: Size, suppress: bool
) -> list[Any]:
    boxes, scores = onnx_two_stage.write_judged(graph, net, maps, size)
    maps = maps[: len(two_stage.STRIDES)]
    if not suppress:
        for value, described in zip(maps, _maps_described(graph, net, size), strict=True):
            _rename(graph, value, described.name)
        return [
            _named(graph, boxes, "boxes", [net.classes, "proposals", 4]),
            _named(graph, scores, "scores", [net.classes, "proposals"]),
            *_maps_described(graph, net, size),
        ]
    found = onnx_two_stage.write_suppressed(graph, boxes, scores)
    masks = onnx_two_stage.write_masks(graph, net, maps, found[0], found[2])
    return [
        *_found_named(graph, *found),
        _named(graph, masks, "masks", ["found", MASK_PX, MASK_PX]),
    ]


def _sizes(size: Size, strides: tuple[int, ...]) -> list[Size]:
    return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]


def _maps_described(graph: Graph, net: TwoStageDetector, size: Size) -> list[Any]:
    width = net.neck.outputs[0].kernel[...].shape[-1]
    return [
        _described(graph, f"map{stride}", [1, width, *map_size])
        for stride, map_size in zip(two_stage.STRIDES, _sizes(size, two_stage.STRIDES), strict=True)
    ]


def _found_named(graph: Graph, boxes: str, scores: str, labels: str) -> list[Any]:
    return [
        _named(graph, boxes, "boxes", ["found", 4]),
        _named(graph, scores, "scores", ["found"]),
        _named(graph, labels, "labels", ["found"], whole=True),
    ]


def _named(graph: Graph, value: str, name: str, shape: list[Any], whole: bool = False) -> Any:
    """Makes a value an output; returns its description."""
    _rename(graph, value, name)
    return _described(graph, name, shape, whole)


def _rename(graph: Graph, value: str, name: str) -> None:
    graph.nodes.append(graph.onnx.helper.make_node("Identity", [value], [name]))


def _described(graph: Graph, name: str, shape: list[Any], whole: bool = False) -> Any:
    kinds = graph.onnx.TensorProto
    kind = kinds.INT64 if whole else kinds.FLOAT
    return graph.onnx.helper.make_tensor_value_info(name, kind, shape)
