"""Non-maximum suppression as a loop of fixed length: static shapes, for XLA.

The kept boxes are found one at a time, best first: what a greedy pass over the sorted boxes keeps,
cut off after ``limit``. A step costs one comparison with every box.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmad_jax.tasks.detect import boxes as b


class Kept(NamedTuple):
    """Places of the kept boxes by falling score, shape (limit,), and which of them are any."""

    index: jax.Array
    valid: jax.Array


def nms(
    boxes: jax.Array,
    scores: jax.Array,
    threshold: float,
    limit: int,
    labels: jax.Array | None = None,
) -> Kept:
    """Greedy suppression: a box goes where a better one overlaps it by more than ``threshold``.

    Args:
        boxes: shape (n, 4).
        scores: shape (n,); -inf marks padding, which is never kept.
        threshold: of the IoU.
        limit: boxes kept at most.
        labels: shape (n,), integer; only boxes of one label suppress each other. None: all do.
    """
    boxes, scores = jnp.asarray(boxes), jnp.asarray(scores)
    labels = None if labels is None else jnp.asarray(labels)

    def one(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, index, valid = carry
        best = jnp.argmax(left)
        found = left[best] > -jnp.inf
        overlaps = b.iou(boxes[best], boxes) > threshold
        if labels is not None:
            overlaps &= labels == labels[best]
        left = jnp.where(overlaps, -jnp.inf, left).at[best].set(-jnp.inf)
        return left, index.at[i].set(best), valid.at[i].set(found)

    start = (scores, jnp.zeros(limit, jnp.int32), jnp.zeros(limit, bool))
    _, index, valid = jax.lax.fori_loop(0, limit, one, start)
    return Kept(index, valid)


class Detections(NamedTuple):
    """Boxes (limit, 4), scores, labels and ``valid`` (limit,) of one image, by falling score."""

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    valid: jax.Array


def best_detections(
    boxes: jax.Array, scores: jax.Array, labels: jax.Array, threshold: float, limit: int
) -> Detections:
    """The ``limit`` best boxes after suppression within each class; -inf scores are padding."""
    index, valid = nms(boxes, scores, threshold, limit, labels)
    boxes, scores, labels = map(jnp.asarray, (boxes, scores, labels))
    return Detections(
        jnp.where(valid[:, None], boxes[index], 0.0),
        jnp.where(valid, scores[index], 0.0),
        jnp.where(valid, labels[index], -1),
        valid,
    )
