"""Mask R-CNN and its cascade as ONNX ops; what they compute stands in `two_stage.py`.

One image at a time: how many proposals it has is its own.
"""

from typing import Any

import numpy as np

from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.tasks.detect import rpn, two_stage
from deepmad_jax.tasks.detect.onnx_boxes import (
    write_best,
    write_decoded,
    write_kept,
    write_part,
    write_roi_align,
    write_top,
)
from deepmad_jax.tasks.detect.onnx_parts import Size
from deepmad_jax.tasks.detect.roi_heads import BOX_BINS, MASK_BINS, BoxHead, MaskHead
from deepmad_jax.tasks.detect.two_stage import TwoStageDetector
from deepmad_jax.tasks.onnx_parts import shared, write_conv


def write_judged(
    graph: Graph, net: TwoStageDetector, maps: list[str], size: Size
) -> tuple[str, str]:
    """Boxes (classes, n, 4) and scores (classes, n) of n proposals.

    Scores are 0 for what is not worth suppressing.

    Args:
        graph: written to.
        net: the detector.
        maps: of its pyramid.
        size: height and width of the image.
    """
    rois = _proposals(graph, net, maps, size)
    total, boxes = "", ""
    for i, (stage, head) in enumerate(zip(net.kind.stages, net.box_heads, strict=True)):
        logits, deltas = _judge(graph, f"box{i}", head, maps, rois)
        total = graph.op("Add", [total, logits]) if i else logits
        anchors = graph.op("Unsqueeze", [rois, graph.integers(1)])
        boxes = write_decoded(graph, anchors, deltas, stage.code.stds, size)
        if i + 1 < len(net.kind.stages):
            rois = graph.op("Reshape", [boxes, graph.integers(-1, 4)])
    mean = graph.op("Div", [total, graph.number(len(net.kind.stages))])
    p = write_part(graph, graph.op("Softmax", [mean], axis=-1), 0, net.classes)
    worth = graph.op("Greater", [p, graph.number(two_stage.SCORE_MIN)])
    scores = graph.op("Where", [worth, p, graph.number(0)])
    boxes = graph.op("Transpose", [boxes], perm=[1, 0, 2])
    # Where there is one box for all classes, it is each one's.
    boxes = graph.op("Expand", [boxes, graph.integers(net.classes, 1, 1)])
    return boxes, graph.op("Transpose", [scores], perm=[1, 0])


def write_suppressed(graph: Graph, boxes: str, scores: str) -> tuple[str, str, str]:
    """The best boxes (found, 4), scores and labels (found,) of what `write_judged` gives."""
    apart = graph.op("Unsqueeze", [scores, graph.integers(1)])
    # A class has boxes of its own, as an image has: it stands where images do.
    label, _, place = write_kept(graph, boxes, apart, two_stage.NMS_IOU, two_stage.LIMIT)
    columns = [graph.op("Unsqueeze", [x, graph.integers(1)]) for x in (label, place)]
    pair = graph.op("Concat", columns, axis=1)
    best, order = write_best(graph, graph.op("GatherND", [scores, pair]), two_stage.LIMIT)
    pair = graph.op("Gather", [pair, order], axis=0)
    found = graph.op("GatherND", [boxes, pair])
    return found, best, graph.op("Gather", [label, order], axis=0)


def write_masks(
    graph: Graph, net: TwoStageDetector, maps: list[str], boxes: str, labels: str
) -> str:
    """Probabilities (found, 28, 28) of the masks in boxes (found, 4) of the classes ``labels``."""
    grids = write_roi_align(graph, maps, boxes, MASK_BINS, two_stage.STRIDES[0])
    own = graph.op("Unsqueeze", [labels, graph.integers(1)])
    total = ""
    for i, head in enumerate(net.mask_heads):
        logits = _mask_head(graph, f"mask{i}", head, grids)
        chosen = graph.op("GatherND", [logits, own], batch_dims=1)
        p = graph.op("Sigmoid", [chosen])
        total = graph.op("Add", [total, p]) if i else p
    return graph.op("Div", [total, graph.number(len(net.mask_heads))])


def _proposals(graph: Graph, net: TwoStageDetector, maps: list[str], size: Size) -> str:
    """`rpn.proposals`: boxes (n, 4), n at most the limit."""
    settings = net.rpn_settings(train=False)
    kept = []
    for x, stride in zip(maps, rpn.STRIDES, strict=True):
        hidden = graph.op("Relu", [write_conv(graph, "rpn.shared", net.rpn.shared, x)])
        logits = _anchors_last(graph, write_conv(graph, "rpn.score", net.rpn.score, hidden), -1)
        deltas = _anchors_last(graph, write_conv(graph, "rpn.shift", net.rpn.shift, hidden), -1, 4)
        sizes = (-(-size[0] // stride), -(-size[1] // stride))
        anchors = rpn.anchors_of([sizes], [stride])
        count = graph.integers(min(settings.candidates, len(anchors)))
        top, place = write_top(graph, logits, count, 0)
        of_map = shared(graph, f"anchors{stride}", anchors)
        at, shifts = (graph.op("Gather", [value, place], axis=0) for value in (of_map, deltas))
        boxes = write_decoded(graph, at, shifts, rpn.STDS, size)
        sides = graph.op("Sub", [write_part(graph, boxes, 2, 4), write_part(graph, boxes, 0, 2)])
        least = graph.op("ReduceMin", [sides], axes=[1], keepdims=0)
        whole = graph.op("Greater", [least, graph.number(0)])
        p = graph.op("Where", [whole, graph.op("Sigmoid", [top]), graph.number(0)])
        batched = graph.op("Unsqueeze", [boxes, graph.integers(0)])
        scores = graph.op("Unsqueeze", [p, graph.integers(0, 1)])
        *_, place = write_kept(graph, batched, scores, settings.nms_iou, settings.limit)
        kept.append([graph.op("Gather", [value, place], axis=0) for value in (boxes, p)])
    boxes, scores = (graph.op("Concat", list(parts), axis=0) for parts in zip(*kept, strict=True))
    _, order = write_best(graph, scores, settings.limit)
    return graph.op("Gather", [boxes, order], axis=0)


def _anchors_last(graph: Graph, value: str, *shape: int) -> str:
    """Channels of one image's map after its places, in ``shape``."""
    last = graph.op("Transpose", [value], perm=[0, 2, 3, 1])
    return graph.op("Reshape", [last, graph.integers(*shape)])


def _judge(graph: Graph, name: str, head: BoxHead, maps: list[str], rois: str) -> tuple[str, str]:
    """Logits (n, classes + 1) and deltas (n, classes or 1, 4)."""
    grids = write_roi_align(
        graph, maps[: len(two_stage.STRIDES)], rois, BOX_BINS, two_stage.STRIDES[0]
    )
    value = graph.op("Flatten", [grids], axis=1)
    for i, layer in enumerate(head.hidden):
        kernel = np.asarray(layer.kernel[...])
        if i == 0:  # ours are flattened channels last
            apart = kernel.reshape(BOX_BINS**2, -1, kernel.shape[1])
            kernel = apart.transpose(1, 0, 2).reshape(kernel.shape)
        value = graph.op("Relu", [_dense(graph, f"{name}.hidden{i}", kernel, layer.bias, value)])
    logits, deltas = (
        _dense(graph, f"{name}.{part}", np.asarray(layer.kernel[...]), layer.bias, value)
        for part, layer in (("classes", head.classes), ("deltas", head.deltas))
    )
    boxes = head.deltas.kernel[...].shape[1] // 4
    return logits, graph.op("Reshape", [deltas, graph.integers(-1, boxes, 4)])


def _dense(graph: Graph, name: str, kernel: np.ndarray, bias: Any, value: str) -> str:
    arrays = {"kernel": kernel, "bias": np.asarray(bias[...])}
    constants = [graph.constant(f"{name}.{key}", array) for key, array in arrays.items()]
    return graph.op("Gemm", [value, *constants])


def _mask_head(graph: Graph, name: str, head: MaskHead, value: str) -> str:
    """Logits (n, classes, 28, 28)."""
    for i, layer in enumerate(head.convs):
        value = graph.op("Relu", [write_conv(graph, f"{name}.conv{i}", layer, value)])
    # Flax's kernel is ONNX's turned round.
    kernel = np.asarray(head.larger.kernel[...])[::-1, ::-1].transpose(2, 3, 0, 1)
    inputs = [
        value,
        graph.constant(f"{name}.larger.weight", kernel),
        graph.constant(f"{name}.larger.bias", np.asarray(head.larger.bias[...])),
    ]
    value = graph.op("ConvTranspose", inputs, kernel_shape=[2, 2], strides=[2, 2])
    return write_conv(graph, f"{name}.logits", head.logits, graph.op("Relu", [value]))
