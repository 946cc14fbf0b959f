"""What FCOS learns: which point answers for which box, and the three losses.

Source: Tian et al. 2019 (arXiv 1904.01355), sections 3.1 and 3.2, as mmdetection trains it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.tasks.detect import boxes as b
from deepmad_jax.tasks.detect import losses
from deepmad_jax.tasks.detect.fcos import PLAIN, STRIDES, FcosMaps, FcosSettings, points_of
from deepmad_jax.tasks.detect.levels import joined, per_place, sizes_of

RANGES = ((-1.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 512.0), (512.0, math.inf))
"""Largest distance, pixels, that each map answers for; both ends count."""

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


class Targets(NamedTuple):
    """What each of n points is to say.

    Attributes:
        labels: class, or the number of classes for background, shape (n,).
        distances: to the sides of its box, pixels, shape (n, 4).
    """

    labels: jax.Array
    distances: jax.Array


def assign(
    points: jax.Array,
    strides: jax.Array,
    ranges: tuple[jax.Array, jax.Array],
    boxes: jax.Array,
    labels: jax.Array,
    classes: int,
    centre_radius: float | None = None,
) -> Targets:
    """The box each point answers for: of those it lies in and whose size is its map's, the least.

    Args:
        points: shape (n, 2).
        strides: of each point's map, shape (n,).
        ranges: least and greatest largest distance of each point's map, shapes (n,).
        boxes: of one image, shape (m, 4); padding may hold anything.
        labels: their classes, shape (m,); negative marks padding.
        classes: their number.
        centre_radius: see `FcosSettings`.
    """
    distances = b.to_distances(points[:, None], boxes)
    largest = distances.max(-1)
    if centre_radius is None:
        inside = distances.min(-1) > 0
    else:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        reach = (strides * centre_radius)[:, None, None]
        near = jnp.concatenate(
            [
                jnp.maximum(centres - reach, boxes[:, :2]),
                jnp.minimum(centres + reach, boxes[:, 2:]),
            ],
            axis=-1,
        )
        inside = b.to_distances(points[:, None], near).min(-1) > 0
    fits = (largest >= ranges[0][:, None]) & (largest <= ranges[1][:, None])
    areas = jnp.where(inside & fits & (labels >= 0), b.area(boxes), jnp.inf)
    chosen = jnp.argmin(areas, axis=1)
    some = jnp.take_along_axis(areas, chosen[:, None], axis=1)[:, 0] < jnp.inf
    return Targets(
        jnp.where(some, labels[chosen], classes),
        jnp.take_along_axis(distances, chosen[:, None, None], axis=1)[:, 0],
    )


def centreness(distances: jax.Array) -> jax.Array:
    """1 at a box's centre, falling to 0 at its sides, from the distances (..., 4) to them."""
    across, along = distances[..., 0::2], distances[..., 1::2]
    return jnp.sqrt(across.min(-1) / across.max(-1) * (along.min(-1) / along.max(-1)))


def fcos_losses(
    maps: FcosMaps,
    boxes: jax.Array,
    labels: jax.Array,
    settings: FcosSettings = PLAIN,
    strides: Sequence[int] = STRIDES,
    ranges: Sequence[tuple[float, float]] = RANGES,
    inside: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """``loss_class``, ``loss_box`` and ``loss_centre`` of a batch; the loss is their sum.

    Args:
        maps: of the head.
        boxes, labels: shapes (batch, m, 4) and (batch, m); a negative label marks padding.
        settings, strides, ranges: see there.
        inside: points that lie on the image, boolean (batch, n): others say nothing. None: all do.
    """
    logits, found, centres = map(joined, maps)
    sizes, classes = sizes_of(maps.classes), logits.shape[-1]
    points = jnp.asarray(points_of(sizes, strides))
    of_strides = jnp.asarray(per_place(strides, sizes))
    of_ranges = tuple(jnp.asarray(per_place(ends, sizes)) for ends in np.transpose(ranges))

    def targets_of(boxes: jax.Array, labels: jax.Array) -> Targets:
        radius = settings.centre_radius
        return assign(points, of_strides, of_ranges, boxes, labels, classes, radius)

    targets = jax.vmap(targets_of)(boxes, labels)
    counted = jnp.ones(targets.labels.shape, bool) if inside is None else inside
    positive = (targets.labels < classes) & counted
    num_positive = jnp.maximum(positive.sum(), 1.0)

    one_hot = jax.nn.one_hot(targets.labels, classes)
    per_class = losses.focal(logits, one_hot, FOCAL_ALPHA, FOCAL_GAMMA)
    loss_class = (per_class.sum(-1) * counted).sum() / num_positive

    # Where a point has no box, distances of 1 stand in: their losses are finite and not counted.
    wanted = jnp.where(positive[..., None], targets.distances, 1.0)
    weight = jnp.where(positive, centreness(wanted), 0.0)
    unit = of_strides[:, None] if settings.by_stride else 1.0
    found = jnp.where(positive[..., None], found, 1.0)
    both = (b.from_distances(jnp.zeros(2), d) for d in (found, wanted / unit))
    per_box = (losses.giou if settings.giou else losses.log_iou)(*both)
    loss_box = (per_box * weight).sum() / jnp.maximum(weight.sum(), 1e-6)

    per_centre = losses.binary_cross_entropy(centres[..., 0], weight)
    loss_centre = (per_centre * positive).sum() / num_positive
    return {"loss_class": loss_class, "loss_box": loss_box, "loss_centre": loss_centre}
