"""A dense detector as an ONNX model, with suppression in it or without.

Input ``images``: float32 ``(batch, 3, height, width)``, normalised as `functions.on_canvas` does,
of the one size that the model is made for, all of it image. Outputs without suppression:
``boxes`` ``(batch, places, 4)`` in pixels and ``scores`` ``(batch, places, classes)``, 0 for what
is not worth suppressing. With it, the batch is 1: ``boxes`` ``(found, 4)``, ``scores`` and
``labels`` ``(found,)``, by falling score.
"""

from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.errors import UserError
from deepmad_jax.interop.extras import need
from deepmad_jax.interop.onnx_graph import model_of
from deepmad_jax.interop.onnx_ops import Graph
from deepmad_jax.tasks.detect import fcos, gfl
from deepmad_jax.tasks.detect.dense import DenseDetector
from deepmad_jax.tasks.detect.onnx_parts import (
    Size,
    shared,
    write_backbone,
    write_branch,
    write_conv,
    write_pyramid,
)


def write_detector(net: Any, path: str | Path, size: Size, suppress: bool) -> None:
    """Writes a detector for images of one size.

    Args:
        net: a `DenseDetector`.
        path: what is there is replaced.
        size: height and width, multiples of 32.
        suppress: put non-maximum suppression into the model.
    Raises:
        UserError: a detector of proposals, or onnx is not installed.
    """
    onnx = need("onnx", "export")
    if not isinstance(net, DenseDetector):
        raise UserError(
            "Only FCOS and GFL are exported, not detectors that propose boxes first: train one "
            "with --config.detect.head=fcos or gfl."
        )
    model = to_onnx(net, size, suppress)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def to_onnx(net: DenseDetector, size: Size, suppress: bool) -> Any:
    """The detector as an `onnx.ModelProto`; see `write_detector`."""
    onnx = need("onnx", "export")
    graph = Graph(onnx)
    sizes = [(-(-size[0] // s), -(-size[1] // s)) for s in fcos.STRIDES]
    maps = write_backbone(graph, net.backbone, "images")
    maps = write_pyramid(graph, net.neck, maps, sizes)
    head = _Fcos(graph, net.head) if isinstance(net.head, fcos.FcosHead) else _Gfl(graph, net.head)
    found = [head.write(i, x, sizes[i]) for i, x in enumerate(maps)]
    scores = graph.op("Concat", [score for score, _ in found], axis=1)
    distances = graph.op("Concat", [distance for _, distance in found], axis=1)
    boxes = _boxes(graph, head.points(sizes), distances, size)
    settings = net.head.settings

    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    describe = helper.make_tensor_value_info
    if not suppress:
        _name(graph, boxes, "boxes")
        _name(graph, scores, "scores")
        shape = ["batch", sum(h * w for h, w in sizes)]
        classes = net.head.class_conv.kernel[...].shape[-1]
        outputs = [
            describe("boxes", floats, [*shape, 4]),
            describe("scores", floats, [*shape, classes]),
        ]
    else:
        _suppress(graph, boxes, scores, settings.nms_iou, settings.limit)
        outputs = [
            describe("boxes", floats, ["found", 4]),
            describe("scores", floats, ["found"]),
            describe("labels", onnx.TensorProto.INT64, ["found"]),
        ]
    batch: Any = 1 if suppress else "batch"
    inputs = [describe("images", floats, [batch, 3, *size])]
    return model_of(graph, net.backbone.net.arch.name, inputs, outputs)


class _Fcos:
    """FCOS's head: `fcos.FcosHead` and `fcos.decode`."""

    def __init__(self, graph: Graph, head: fcos.FcosHead):
        self.graph, self.head = graph, head

    def points(self, sizes: list[Size]) -> np.ndarray:
        return fcos.points_of(sizes, fcos.STRIDES)

    def write(self, i: int, x: str, size: Size) -> tuple[str, str]:
        """Scores (batch, places, classes) and distances (batch, places, 4) of a map."""
        graph, head, settings = self.graph, self.head, self.head.settings
        for_classes = write_branch(graph, "head.classes", head.class_branch, x, size)
        for_boxes = write_branch(graph, "head.boxes", head.box_branch, x, size)
        p = graph.op("Sigmoid", [write_conv(graph, "head.class", head.class_conv, for_classes)])
        p = _places(graph, p)
        at = for_boxes if settings.centreness_from_boxes else for_classes
        centre = graph.op("Sigmoid", [write_conv(graph, "head.centre", head.centre_conv, at)])
        raw = write_conv(graph, "head.box", head.box_conv, for_boxes)
        factor = shared(graph, f"head.factor{i}", np.asarray(head.factors[i][...]))
        raw = graph.op("Mul", [raw, factor])
        if settings.by_stride:
            distances = graph.op("Mul", [graph.op("Relu", [raw]), graph.number(fcos.STRIDES[i])])
        else:
            distances = graph.op("Exp", [raw])
        flat = graph.op("Reshape", [p, graph.integers(0, -1)])
        classes = head.class_conv.kernel[...].shape[-1]
        least = _least(graph, flat, settings.candidates, size[0] * size[1] * classes)
        keep = graph.op("Greater", [p, graph.number(settings.score_min)])
        if least is not None:
            level = graph.op("Reshape", [least, graph.integers(0, 1, 1)])
            keep = graph.op("And", [keep, graph.op("GreaterOrEqual", [p, level])])
        scores = graph.op("Mul", [p, _places(graph, centre)])
        return graph.op("Where", [keep, scores, graph.number(0)]), _places(graph, distances)


class _Gfl:
    """GFL's head: `gfl.GflHead` and `gfl.decode`."""

    def __init__(self, graph: Graph, head: gfl.GflHead):
        self.graph, self.head = graph, head

    def points(self, sizes: list[Size]) -> np.ndarray:
        anchors = gfl.anchors_of(sizes, gfl.STRIDES)
        return (anchors[:, :2] + anchors[:, 2:]) / 2

    def write(self, i: int, x: str, size: Size) -> tuple[str, str]:
        """Scores (batch, places, classes) and distances (batch, places, 4) of a map."""
        graph, head, settings = self.graph, self.head, self.head.settings
        for_classes = write_branch(graph, "head.classes", head.class_branch, x, size)
        for_boxes = write_branch(graph, "head.boxes", head.box_branch, x, size)
        p = graph.op("Sigmoid", [write_conv(graph, "head.class", head.class_conv, for_classes)])
        raw = write_conv(graph, "head.box", head.box_conv, for_boxes)
        factor = shared(graph, f"head.factor{i}", np.asarray(head.factors[i][...]))
        bins = graph.integers(0, 4, gfl.LARGEST_BIN + 1, *size)
        sides = graph.op("Reshape", [graph.op("Mul", [raw, factor]), bins])
        shares = graph.op("Softmax", [sides], axis=2)
        if settings.quality:
            top, _ = _top(graph, shares, graph.integers(gfl.TOP_BINS), 2)
            mean = graph.op("ReduceMean", [top], axes=[2], keepdims=1)
            seen = graph.op("Concat", [top, mean], axis=2)
            seen = graph.op("Reshape", [seen, graph.integers(0, -1, *size)])
            hidden = graph.op("Relu", [write_conv(graph, "head.quality1", head.quality_in, seen)])
            quality = write_conv(graph, "head.quality2", head.quality_out, hidden)
            p = graph.op("Mul", [p, graph.op("Sigmoid", [quality])])
        steps = np.arange(gfl.LARGEST_BIN + 1)[:, None, None] * gfl.STRIDES[i]
        lengths = shared(graph, f"head.lengths{i}", steps)
        distances = graph.op("ReduceSum", [graph.op("Mul", [shares, lengths]), graph.integers(2)])
        distances = graph.op("Reshape", [distances, graph.integers(0, 4, *size)])
        scores = _places(graph, p)
        keep = graph.op("Greater", [scores, graph.number(settings.score_min)])
        best = graph.op("ReduceMax", [scores], axes=[2], keepdims=0)
        least = _least(graph, best, settings.candidates, size[0] * size[1])
        if least is not None:
            level = graph.op("Reshape", [least, graph.integers(0, 1, 1)])
            point = graph.op("Unsqueeze", [best, graph.integers(2)])
            keep = graph.op("And", [keep, graph.op("GreaterOrEqual", [point, level])])
        return graph.op("Where", [keep, scores, graph.number(0)]), _places(graph, distances)


def _places(graph: Graph, value: str) -> str:
    """(batch, channels, H, W) to (batch, H W, channels)."""
    flat = graph.op("Reshape", [value, graph.integers(0, 0, -1)])
    return graph.op("Transpose", [flat], perm=[0, 2, 1])


def _least(graph: Graph, flat: str, count: int, size: int) -> str | None:
    """The ``count``-th largest of each row, shape (batch, 1); None where all go on."""
    if size <= count:
        return None
    values, _ = _top(graph, flat, graph.integers(count), 1)
    last = graph.integers(count - 1)
    return graph.op("Slice", [values, last, graph.integers(count), graph.integers(1)])


def _top(graph: Graph, value: str, count: str, axis: int) -> tuple[str, str]:
    names = [f"top_{len(graph.nodes)}", f"top_places_{len(graph.nodes)}"]
    graph.nodes.append(graph.onnx.helper.make_node("TopK", [value, count], names, axis=axis))
    return names[0], names[1]


def _boxes(graph: Graph, points: np.ndarray, distances: str, size: Size) -> str:
    ends = shared(graph, "points", np.concatenate([points, points], 1)[None])
    signs = shared(graph, "signs", np.array([-1.0, -1.0, 1.0, 1.0]))
    boxes = graph.op("Add", [ends, graph.op("Mul", [distances, signs])])
    edges = shared(graph, "edges", np.array([size[1], size[0]] * 2, float))
    return graph.op("Min", [graph.op("Max", [boxes, graph.number(0)]), edges])


def _suppress(graph: Graph, boxes: str, scores: str, threshold: float, limit: int) -> None:
    by_class = graph.op("Transpose", [scores], perm=[0, 2, 1])
    inputs = [boxes, by_class, graph.integers(limit), graph.number(threshold), graph.number(0)]
    # Corners in either order of axes: the overlap is the same.
    kept = graph.op("NonMaxSuppression", inputs)
    label, place = (
        graph.op("Reshape", [_column(graph, kept, i), graph.integers(-1)]) for i in (1, 2)
    )
    pair = graph.op("Concat", [_column(graph, kept, 1), _column(graph, kept, 2)], axis=1)
    first = graph.op("Squeeze", [by_class, graph.integers(0)])
    value = graph.op("GatherND", [first, pair])
    most = graph.op("Min", [graph.integers(limit), graph.op("Shape", [value])])
    best, order = _top(graph, value, most, 0)
    _name(graph, best, "scores")
    _name(graph, graph.op("Gather", [label, order], axis=0), "labels")
    places = graph.op("Gather", [place, order], axis=0)
    of_image = graph.op("Squeeze", [boxes, graph.integers(0)])
    _name(graph, graph.op("Gather", [of_image, places], axis=0), "boxes")


def _column(graph: Graph, matrix: str, i: int) -> str:
    axis = graph.integers(1)
    return graph.op("Slice", [matrix, graph.integers(i), graph.integers(i + 1), axis])


def _name(graph: Graph, value: str, name: str) -> None:
    graph.nodes.append(graph.onnx.helper.make_node("Identity", [value], [name]))
