"""Which anchors answer for which box, by a threshold that each box sets itself.

Source: ATSS, Zhang et al. 2020 (arXiv 1912.02424), algorithm 1, as mmdetection has it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmad_jax.tasks.detect import boxes as b

NEAREST = 9
"""Anchors of each map that are looked at for a box."""

LEAST_INSIDE = 0.01
"""Pixels by which an anchor's centre has to lie inside its box."""


class Assigned(NamedTuple):
    """Of each of n anchors of one image.

    Attributes:
        box: place of its box, -1 for background, shape (n,).
        overlap: its IoU with it, 0 for background, shape (n,).
    """

    box: jax.Array
    overlap: jax.Array


def assign(
    anchors: jax.Array,
    counts: Sequence[int],
    boxes: jax.Array,
    valid: jax.Array,
    counted: jax.Array | None = None,
) -> Assigned:
    """A box's anchors: of the nearest on each map those whose IoU is mean + deviation or more.

    An anchor that several boxes claim goes to the one that it overlaps most.

    Args:
        anchors: of all maps, shape (n, 4).
        counts: anchors of each map.
        boxes: of one image, shape (m, 4).
        valid: boxes that are no padding, boolean (m,).
        counted: anchors that may be chosen, boolean (n,); None: all.
    """
    anchors, boxes = jnp.asarray(anchors), jnp.asarray(boxes)
    overlaps = b.iou(anchors[:, None], boxes)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    of_boxes = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = jnp.sqrt(jnp.square(centres[:, None] - of_boxes).sum(-1))
    if counted is not None:
        away = jnp.where(counted[:, None], away, jnp.inf)

    nearest, start = [], 0
    for count in counts:
        most = min(NEAREST, count)
        near, place = jax.lax.top_k(-away[start : start + count].T, most)
        # Past the end where the map has fewer anchors that count: dropped below.
        nearest.append(jnp.where(near > -jnp.inf, place + start, len(anchors)).T)
        start += count
    candidates = jnp.concatenate(nearest)  # (k, m), places
    exists = candidates < len(anchors)
    columns = jnp.arange(boxes.shape[0])
    found = overlaps[candidates.clip(max=len(anchors) - 1), columns]
    number = jnp.maximum(exists.sum(0), 1)
    mean = jnp.where(exists, found, 0.0).sum(0) / number
    spread = jnp.where(exists, jnp.square(found - mean), 0.0).sum(0)
    threshold = mean + jnp.sqrt(spread / jnp.maximum(number - 1, 1))

    is_candidate = jnp.zeros(overlaps.shape, bool).at[candidates, columns].set(True, mode="drop")
    inside = b.to_distances(centres[:, None], boxes).min(-1) > LEAST_INSIDE
    claimed = is_candidate & (overlaps >= threshold) & inside & valid
    claims = jnp.where(claimed, overlaps, -jnp.inf)
    box = jnp.argmax(claims, axis=1)
    best = jnp.take_along_axis(claims, box[:, None], axis=1)[:, 0]
    some = best > -jnp.inf
    return Assigned(jnp.where(some, box, -1), jnp.where(some, best, 0.0))
