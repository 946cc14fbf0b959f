"""The heads of FCOS and GFL as ONNX ops; what they compute stands in `fcos.py` and `gfl.py`."""

import numpy as np

from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.tasks.detect import fcos, gfl
from deepmad_jax.tasks.detect.dense import DenseDetector
from deepmad_jax.tasks.detect.onnx_boxes import write_best, write_cut_off, write_kept, write_top
from deepmad_jax.tasks.detect.onnx_parts import Size, write_branch
from deepmad_jax.tasks.onnx_parts import shared, write_conv


def write_found(graph: Graph, net: DenseDetector, maps: list[str], size: Size) -> tuple[str, str]:
    """Boxes (batch, places, 4) and scores (batch, places, classes) of every place.

    Scores are 0 for what is not worth suppressing.

    Args:
        graph: written to.
        net: the detector.
        maps: of its pyramid.
        size: height and width of the images.
    """
    sizes = [(-(-size[0] // s), -(-size[1] // s)) for s in fcos.STRIDES]
    head = _Fcos(graph, net.head) if isinstance(net.head, fcos.FcosHead) else _Gfl(graph, net.head)
    found = [head.write(i, x, sizes[i]) for i, x in enumerate(maps)]
    scores, distances = (
        graph.op("Concat", list(parts), axis=1) for parts in zip(*found, strict=True)
    )
    points = head.points(sizes)
    ends = shared(graph, "points", np.concatenate([points, points], 1)[None])
    signs = shared(graph, "signs", np.array([-1.0, -1.0, 1.0, 1.0]))
    boxes = graph.op("Add", [ends, graph.op("Mul", [distances, signs])])
    return write_cut_off(graph, boxes, size), scores


def write_suppressed(
    graph: Graph, boxes: str, scores: str, threshold: float, limit: int
) -> tuple[str, str, str]:
    """The best boxes (found, 4), scores and labels (found,) of what `write_found` gives of one."""
    by_class = graph.op("Transpose", [scores], perm=[0, 2, 1])
    image, label, place = write_kept(graph, boxes, by_class, threshold, limit)
    columns = [graph.op("Unsqueeze", [x, graph.integers(1)]) for x in (image, label, place)]
    value = graph.op("GatherND", [by_class, graph.op("Concat", columns, axis=1)])
    best, order = write_best(graph, value, limit)
    labels, places = (graph.op("Gather", [x, order], axis=0) for x in (label, place))
    of_image = graph.op("Squeeze", [boxes, graph.integers(0)])
    return graph.op("Gather", [of_image, places], axis=0), best, labels


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
            top, _ = write_top(graph, shares, graph.integers(gfl.TOP_BINS), 2)
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
    values, _ = write_top(graph, flat, graph.integers(count), 1)
    last = graph.integers(count - 1)
    return graph.op("Slice", [values, last, graph.integers(count), graph.integers(1)])
