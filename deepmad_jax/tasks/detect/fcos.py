"""FCOS: at every point of every map, the classes and the distances to the four sides of a box.

Source: Tian et al. 2019 (arXiv 1904.01355), as mmdetection trains it. `fcos_loss` is how it learns;
here are the head and what boxes its maps mean.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.nets.parts import Making, conv, normal
from deepmad_jax.tasks.detect import boxes as b
from deepmad_jax.tasks.detect.levels import counts, grid, joined, sizes_of
from deepmad_jax.tasks.detect.nms import Detections, best_detections
from deepmad_jax.tasks.detect.tower import HEAD_STD, Branch, masks_or_none

PRIOR = 0.01
"""Probability that every class starts with, so that background does not drown the first steps."""

STRIDES = (8, 16, 32, 64, 128)


@dataclasses.dataclass(frozen=True)
class FcosSettings:
    """What differs between the two published forms of FCOS.

    Attributes:
        centre_radius: points count as inside a box only within so many strides of its centre, None
            for anywhere inside.
        by_stride: distances are learned in strides and cut at 0, rather than as exponentials.
        centreness_from_boxes: from the branch of the distances rather than that of the classes.
        giou: the box loss is 1 - GIoU rather than -log IoU.
        conv_bias: convs before GroupNorm have biases.
        nms_iou: overlap above which the worse of two boxes of a class goes.
        score_min: least probability of a class.
        candidates: best (point, class) pairs of a map that go on to suppression.
        limit: detections of an image.
    """

    centre_radius: float | None = None
    by_stride: bool = False
    centreness_from_boxes: bool = False
    giou: bool = False
    conv_bias: bool = False
    nms_iou: float = 0.5
    score_min: float = 0.05
    candidates: int = 1000
    limit: int = 100


PLAIN = FcosSettings()
TRICKS = FcosSettings(
    centre_radius=1.5,
    by_stride=True,
    centreness_from_boxes=True,
    giou=True,
    conv_bias=True,
    nms_iou=0.6,
)
"""The published improvements (FCOS, section 3.4 of its later version)."""


class FcosMaps(NamedTuple):
    """What the head gives, one array a map, float32.

    Attributes:
        classes: logits, shapes (batch, H_i, W_i, classes).
        distances: in pixels, or in strides where `FcosSettings.by_stride` is set, (..., 4).
        centreness: logits, (..., 1).
    """

    classes: tuple[jax.Array, ...]
    distances: tuple[jax.Array, ...]
    centreness: tuple[jax.Array, ...]


class FcosHead(nnx.Module):
    """Maps of a pyramid to `FcosMaps`; weights are shared by all maps but for one factor each.

    Args:
        c_in: channels of the maps.
        num_maps: of the pyramid.
        classes: to tell apart, background not counted.
        making: how its parts are made.
        width, depth, groups: of the two branches.
        settings: see there.
    """

    def __init__(
        self,
        c_in: int,
        num_maps: int,
        classes: int,
        making: Making,
        *,
        width: int = 256,
        depth: int = 4,
        groups: int = 32,
        settings: FcosSettings = PLAIN,
    ):
        self.settings = settings
        branch = (c_in, width, depth, groups, settings.conv_bias, making)
        self.class_branch, self.box_branch = Branch(*branch), Branch(*branch)
        draw = normal(HEAD_STD)
        rare = -math.log((1.0 - PRIOR) / PRIOR)
        self.class_conv = conv(making, width, classes, 3, draw=draw, bias=rare)
        self.box_conv = conv(making, width, 4, 3, draw=draw)
        self.centre_conv = conv(making, width, 1, 3, draw=draw)
        self.factors = nnx.List(
            [nnx.Param(jnp.asarray(np.ones((), np.float32))) for _ in range(num_maps)]
        )

    def __call__(
        self, maps: Sequence[jax.Array], inside: Sequence[jax.Array] | None = None
    ) -> FcosMaps:
        """What is at every point; ``inside`` as `levels.inside_maps` gives it."""
        outs = []
        masks = masks_or_none(maps, inside)
        for x, mask, factor in zip(maps, masks, self.factors, strict=True):
            for_classes, for_boxes = self.class_branch(x, mask), self.box_branch(x, mask)
            distances = factor[...] * self.box_conv(for_boxes).astype(jnp.float32)
            by_stride = self.settings.by_stride
            distances = jax.nn.relu(distances) if by_stride else jnp.exp(distances)
            centre = self.centre_conv(
                for_boxes if self.settings.centreness_from_boxes else for_classes
            )
            classes = self.class_conv(for_classes)
            outs.append((classes.astype(jnp.float32), distances, centre.astype(jnp.float32)))
        return FcosMaps(*zip(*outs, strict=True))


def points_of(sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> np.ndarray:
    """The points (x, y) of all maps, pixels of the image, shape (n, 2): centres of map pixels."""
    return np.concatenate(
        [grid(size, stride, 0.5) for size, stride in zip(sizes, strides, strict=True)]
    )


def decode(
    maps: FcosMaps,
    image_sizes: jax.Array,
    settings: FcosSettings = PLAIN,
    strides: Sequence[int] = STRIDES,
) -> Detections:
    """The boxes of a batch, with a leading axis over its images.

    Of each map the best (point, class) pairs by class probability alone go on; suppression then
    goes by the product with the centreness.

    Args:
        maps: of the head.
        image_sizes: height and width of each image on its canvas, (batch, 2): boxes end there.
        settings, strides: see there.
    """
    sizes = sizes_of(maps.classes)

    def one(classes: jax.Array, distances: jax.Array, centres: jax.Array, size: jax.Array):  # type: ignore[no-untyped-def]
        found = []
        points, start = jnp.asarray(points_of(sizes, strides)), 0
        for count, stride in zip(counts(sizes), strides, strict=True):
            part = slice(start, start + count)
            start += count
            p = jax.nn.sigmoid(classes[part])
            top, place = jax.lax.top_k(p.ravel(), min(settings.candidates, p.size))
            point, label = place // p.shape[1], place % p.shape[1]
            length = stride if settings.by_stride else 1
            found.append(
                (
                    b.from_distances(points[part][point], length * distances[part][point]),
                    jnp.where(
                        top > settings.score_min,
                        top * jax.nn.sigmoid(centres[part][point, 0]),
                        -jnp.inf,
                    ),
                    label,
                )
            )
        boxes, scores, labels = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
        boxes = b.clip(boxes, size)
        return best_detections(boxes, scores, labels, settings.nms_iou, settings.limit)

    every = (joined(maps.classes), joined(maps.distances), joined(maps.centreness))
    return jax.vmap(one)(*every, image_sizes)
