"""Boxes as ONNX ops: decoding, the best of them, suppression, RoIAlign.

Boxes are ``(..., 4)`` in pixels of an image of known size, as `boxes.py` has them.
"""

from collections.abc import Sequence

import numpy as np

from deepmad_jax.interop.onnx_spot import Graph
from deepmad_jax.tasks.detect.boxes import MOST_GROWTH
from deepmad_jax.tasks.detect.onnx_parts import Size
from deepmad_jax.tasks.detect.roi_align import FINEST_PX
from deepmad_jax.tasks.onnx_parts import shared


def write_decoded(
    graph: Graph, anchors: str, deltas: str, stds: Sequence[float], size: Size
) -> str:
    """`boxes.decode`, cut off at the image's edges."""
    name = "_".join(["stds", *(f"{std:g}" for std in stds)])
    if set(stds) != {1.0}:
        deltas = graph.op("Mul", [deltas, shared(graph, name, np.array(stds))])
    half = graph.number(0.5)
    low, high = write_part(graph, anchors, 0, 2), write_part(graph, anchors, 2, 4)
    sides = graph.op("Sub", [high, low])
    centres = graph.op("Mul", [graph.op("Add", [low, high]), half])
    shift = graph.op("Mul", [write_part(graph, deltas, 0, 2), sides])
    centres = graph.op("Add", [centres, shift])
    growth = [write_part(graph, deltas, 2, 4), graph.number(-MOST_GROWTH)]
    growth = graph.op("Clip", [*growth, graph.number(MOST_GROWTH)])
    reach = graph.op("Mul", [graph.op("Mul", [sides, graph.op("Exp", [growth])]), half])
    corners = [graph.op("Sub", [centres, reach]), graph.op("Add", [centres, reach])]
    return write_cut_off(graph, graph.op("Concat", corners, axis=-1), size)


def write_cut_off(graph: Graph, boxes: str, size: Size) -> str:
    """Boxes that end at the image's edges."""
    edges = shared(graph, "edges", np.array([size[1], size[0]] * 2, float))
    return graph.op("Min", [graph.op("Max", [boxes, graph.number(0)]), edges])


def write_part(graph: Graph, value: str, start: int, end: int) -> str:
    """``value[..., start:end]``."""
    return graph.op(
        "Slice", [value, graph.integers(start), graph.integers(end), graph.integers(-1)]
    )


def write_top(
    graph: Graph, value: str, count: str, axis: int, largest: bool = True
) -> tuple[str, str]:
    """The ``count`` largest values along an axis, or the smallest, in order; and their places."""
    names = [f"top_{len(graph.nodes)}", f"top_places_{len(graph.nodes)}"]
    node = graph.onnx.helper.make_node(
        "TopK", [value, count], names, axis=axis, largest=int(largest)
    )
    graph.nodes.append(node)
    return names[0], names[1]


def write_best(graph: Graph, scores: str, limit: int) -> tuple[str, str]:
    """At most ``limit`` largest of ``scores`` (n,), in order; and their places."""
    count = graph.op("Min", [graph.integers(limit), graph.op("Shape", [scores])])
    return write_top(graph, scores, count, 0)


def write_kept(
    graph: Graph, boxes: str, scores: str, threshold: float, limit: int
) -> tuple[str, str, str]:
    """What greedy suppression keeps: numbers of image, class and box, each of shape (kept,).

    Args:
        graph: written to.
        boxes: shape (images, n, 4).
        scores: shape (images, classes, n); what is not above 0 is not kept.
        threshold: of the IoU.
        limit: boxes kept at most, of each image and class.
    """
    inputs = [boxes, scores, graph.integers(limit), graph.number(threshold), graph.number(0)]
    # Corners in either order of axes: the overlap is the same.
    kept = graph.op("NonMaxSuppression", inputs)
    flat = graph.integers(-1)
    image, label, place = (
        graph.op("Reshape", [write_part(graph, kept, i, i + 1), flat]) for i in range(3)
    )
    return image, label, place


def write_roi_align(graph: Graph, maps: list[str], rois: str, out: int, finest: int) -> str:
    """`roi_align.from_pyramid`: grids (n, channels, out, out) of boxes (n, 4).

    Each map is read for its own boxes alone; the grids are put back in the boxes' order.
    """
    sides = graph.op("Sub", [write_part(graph, rois, 2, 4), write_part(graph, rois, 0, 2)])
    sides = graph.op("Max", [sides, graph.number(0)])
    area = graph.op("Mul", [write_part(graph, sides, 0, 1), write_part(graph, sides, 1, 2)])
    side = graph.op("Div", [graph.op("Sqrt", [area]), graph.number(FINEST_PX)])
    side = graph.op("Reshape", [graph.op("Add", [side, graph.number(1e-6)]), graph.integers(-1)])
    grids, places = [], []
    for i, x in enumerate(maps):
        # floor(log2(side)) is i, or i is the last one on its side.
        here = []
        if i > 0:
            here.append(graph.op("GreaterOrEqual", [side, graph.number(2.0**i)]))
        if i + 1 < len(maps):
            here.append(graph.op("Less", [side, graph.number(2.0 ** (i + 1))]))
        belongs = here[0] if len(here) == 1 else graph.op("And", here)
        place = graph.op("Reshape", [graph.op("NonZero", [belongs]), graph.integers(-1)])
        image = graph.op("Sub", [place, place])  # there is one
        grids.append(
            graph.op(
                "RoiAlign",
                [x, graph.op("Gather", [rois, place], axis=0), image],
                coordinate_transformation_mode="half_pixel",
                output_height=out,
                output_width=out,
                sampling_ratio=0,
                spatial_scale=1.0 / (finest * 2**i),
            )
        )
        places.append(place)
    every = graph.op("Concat", places, axis=0)
    _, order = write_top(graph, every, graph.op("Shape", [every]), 0, largest=False)
    return graph.op("Gather", [graph.op("Concat", grids, axis=0), order], axis=0)
