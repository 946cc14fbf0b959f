"""What GFL learns: quality focal loss on scores, distribution focal loss and GIoU on boxes.

Source: Li et al. 2020 (arXiv 2006.04388) and the released code of GFLV2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from deepmad_jax.tasks.detect import atss, losses
from deepmad_jax.tasks.detect import boxes as b
from deepmad_jax.tasks.detect.fcos import STRIDES
from deepmad_jax.tasks.detect.gfl import LARGEST_BIN, GflMaps, anchors_of, expected
from deepmad_jax.tasks.detect.levels import counts, joined, per_place, sizes_of

BOX_WEIGHT, SIDES_WEIGHT = 2.0, 0.25

MOST_DISTANCE = LARGEST_BIN - 0.1
"""Strides at which a target distance is cut: the bin to its right still exists."""


def gfl_losses(
    maps: GflMaps,
    boxes: jax.Array,
    labels: jax.Array,
    strides: Sequence[int] = STRIDES,
    inside: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """``loss_class``, ``loss_box`` and ``loss_sides``, one value a map; the loss is their sum.

    Args:
        maps: of the head.
        boxes, labels: shapes (batch, m, 4) and (batch, m); a negative label marks padding.
        strides: of the maps.
        inside: anchors whose centre lies on the image, boolean (batch, n). None: all do.
    """
    scores, sides = map(joined, maps)
    sizes, classes = sizes_of(maps.scores), scores.shape[-1]
    anchors = jnp.asarray(anchors_of(sizes, strides))
    counted = jnp.ones(scores.shape[:2], bool) if inside is None else inside

    def assign(boxes: jax.Array, valid: jax.Array, counted: jax.Array) -> jax.Array:
        return atss.assign(anchors, counts(sizes), boxes, valid, counted).box

    place = jax.vmap(assign)(boxes, labels >= 0, counted)
    positive = place >= 0
    label = jnp.where(positive, jnp.take_along_axis(labels, place.clip(0), axis=1), classes)
    target = jnp.take_along_axis(boxes, place.clip(0)[..., None], axis=1)

    units = jnp.asarray(per_place(strides, sizes))[:, None]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2 / units
    # Where there is no box, the anchor stands in: its losses are finite and not counted.
    target = jnp.where(positive[..., None], target, anchors) / units
    box = b.from_distances(centres, expected(sides))

    quality = b.iou(jax.lax.stop_gradient(box), target) * positive
    wanted = jax.nn.one_hot(label, classes) * quality[..., None]
    per_class = losses.quality_focal(scores, wanted).sum(-1) * counted
    # As in the source, an image without positives counts as one.
    per_class /= jnp.maximum(positive.sum(1), 1).sum()

    weight = jax.lax.stop_gradient(scores.max(-1)) * positive
    # No positives, no weight: then both sums are 0, whatever divides them.
    weight /= jnp.maximum(weight.sum(), jnp.finfo(jnp.float32).tiny)
    per_box = BOX_WEIGHT * losses.giou(box, target) * weight
    distances = jnp.clip(b.to_distances(centres, target), 0.0, MOST_DISTANCE)
    logits = sides.reshape(*sides.shape[:-1], 4, -1)
    per_side = losses.distribution_focal(logits, distances).sum(-1) / 4
    per_side = SIDES_WEIGHT * per_side * weight

    values = {"loss_class": per_class, "loss_box": per_box, "loss_sides": per_side}
    return {name: _by_map(value, counts(sizes)) for name, value in values.items()}


def _by_map(values: jax.Array, counts: Sequence[int]) -> jax.Array:
    """Sums over the places of each map: (batch, n) to (maps,)."""
    ends = [sum(counts[: i + 1]) for i in range(len(counts) - 1)]
    return jnp.stack([part.sum() for part in jnp.split(values, ends, axis=1)])
