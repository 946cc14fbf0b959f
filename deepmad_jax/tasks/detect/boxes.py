"""Boxes (x1, y1, x2, y2) in pixels, no +1: areas, overlaps, distances, deltas.

All functions take arrays whose last axis is a box, and broadcast over the others.
"""

import math

import jax
import jax.numpy as jnp

EPSILON = 1e-6
"""Least union or hull that an overlap is divided by, as mmdetection has it."""

MOST_GROWTH = math.log(1000 / 16)
"""Largest log of a side's factor that a delta may stand for."""


def area(boxes: jax.Array) -> jax.Array:
    """Of each box; sides that are negative multiply as they are."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersection(a: jax.Array, b: jax.Array) -> jax.Array:
    """Area that each two boxes share."""
    sides = jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2])
    sides = jnp.maximum(sides, 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of each two boxes; ``iou(a[:, None], b)`` is of all pairs.

    >>> iou(jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([1.0, 0.0, 3.0, 2.0])).round(4)
    Array(0.3333, dtype=float32)
    """
    shared = intersection(a, b)
    return shared / jnp.maximum(area(a) + area(b) - shared, EPSILON)


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU, in [-1, 1] (Rezatofighi et al. 2019, arXiv 1902.09630)."""
    shared = intersection(a, b)
    union = jnp.maximum(area(a) + area(b) - shared, EPSILON)
    sides = jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])
    sides = jnp.maximum(sides, 0.0)
    hull = jnp.maximum(sides[..., 0] * sides[..., 1], EPSILON)
    return shared / union - (hull - union) / hull


def share_inside(a: jax.Array, b: jax.Array) -> jax.Array:
    """Share of ``a``'s area that lies in ``b``."""
    return intersection(a, b) / jnp.maximum(area(a), EPSILON)


def to_distances(points: jax.Array, boxes: jax.Array) -> jax.Array:
    """Distances left, top, right, bottom from points (x, y) to the sides of boxes."""
    return jnp.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], axis=-1)


def from_distances(points: jax.Array, distances: jax.Array) -> jax.Array:
    """The inverse of `to_distances`."""
    return jnp.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)


def clip(boxes: jax.Array, size: jax.Array) -> jax.Array:
    """Boxes cut off at the image's edges; ``size`` is (height, width)."""
    size = jnp.asarray(size, boxes.dtype)
    return jnp.clip(boxes, 0.0, jnp.stack([size[..., 1], size[..., 0]] * 2, axis=-1))


def encode(anchors: jax.Array, boxes: jax.Array, stds: tuple[float, ...]) -> jax.Array:
    """Deltas (dx, dy, dw, dh) / ``stds`` that lead from anchors to boxes.

    Centres move in units of the anchor's sides, sides by a log (Girshick et al. 2014).
    """
    centres_a, sides_a = _centre_form(anchors)
    centres, sides = _centre_form(boxes)
    deltas = [(centres - centres_a) / sides_a, jnp.log(sides / sides_a)]
    return jnp.concatenate(deltas, axis=-1) / jnp.asarray(stds, anchors.dtype)


def decode(anchors: jax.Array, deltas: jax.Array, stds: tuple[float, ...]) -> jax.Array:
    """The inverse of `encode`; sides change by at most 1000 / 16."""
    deltas = deltas * jnp.asarray(stds, deltas.dtype)
    centres, sides = _centre_form(anchors)
    centres = centres + deltas[..., :2] * sides
    sides = sides * jnp.exp(jnp.clip(deltas[..., 2:], -MOST_GROWTH, MOST_GROWTH))
    return jnp.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)


def _centre_form(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
