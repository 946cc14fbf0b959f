"""GFL: each side's distance as a distribution, and one score for class and quality together.

Source: Li et al. 2020, GFLV1 (arXiv 2006.04388) and 2021, GFLV2 (arXiv 2011.12885), which reads the
quality of a box off the shape of its distributions. `gfl_loss` is how it learns.
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
from deepmad_jax.tasks.detect.fcos import PRIOR, STRIDES
from deepmad_jax.tasks.detect.levels import counts, grid, joined, per_place, sizes_of
from deepmad_jax.tasks.detect.nms import Detections, best_detections
from deepmad_jax.tasks.detect.tower import HEAD_STD, Branch, masks_or_none

ANCHOR_SCALE = 8
"""Side of a point's one anchor, in strides."""

LARGEST_BIN = 16
"""Distances are distributions over 0, 1, ..., 16 strides."""

TOP_BINS = 4
"""Largest probabilities of each side that the quality is read off."""


@dataclasses.dataclass(frozen=True)
class GflSettings:
    """How GFL scores and filters.

    Attributes:
        quality: read the quality off the distributions (GFLV2); False is GFLV1.
        nms_iou, score_min, candidates, limit: as `fcos.FcosSettings` has them, but ``candidates``
            are points.
    """

    quality: bool = True
    nms_iou: float = 0.6
    score_min: float = 0.05
    candidates: int = 1000
    limit: int = 100


V2 = GflSettings()
V1 = GflSettings(quality=False)


class GflMaps(NamedTuple):
    """What the head gives, one array a map, float32.

    Attributes:
        scores: of every class, in [0, 1], shapes (batch, H_i, W_i, classes).
        sides: logits of the distributions, (..., 4 * 17): left, top, right, bottom.
    """

    scores: tuple[jax.Array, ...]
    sides: tuple[jax.Array, ...]


class GflHead(nnx.Module):
    """Maps of a pyramid to `GflMaps`; arguments as `fcos.FcosHead` has them."""

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
        quality_width: int = 64,
        settings: GflSettings = V2,
    ):
        self.settings = settings
        branch = (c_in, width, depth, groups, False, making)
        self.class_branch, self.box_branch = Branch(*branch), Branch(*branch)
        draw = normal(HEAD_STD)
        rare = -math.log((1.0 - PRIOR) / PRIOR)
        self.class_conv = conv(making, width, classes, 3, draw=draw, bias=rare)
        self.box_conv = conv(making, width, 4 * (LARGEST_BIN + 1), 3, draw=draw)
        self.factors = nnx.List(
            [nnx.Param(jnp.asarray(np.ones((), np.float32))) for _ in range(num_maps)]
        )
        if settings.quality:
            self.quality_in = conv(making, 4 * (TOP_BINS + 1), quality_width, 1, draw=draw)
            self.quality_out = conv(making, quality_width, 1, 1, draw=draw)

    def __call__(
        self, maps: Sequence[jax.Array], inside: Sequence[jax.Array] | None = None
    ) -> GflMaps:
        """What is at every point; ``inside`` as `levels.inside_maps` gives it."""
        scores, sides = [], []
        masks = masks_or_none(maps, inside)
        for x, mask, factor in zip(maps, masks, self.factors, strict=True):
            logits = factor[...] * self.box_conv(self.box_branch(x, mask)).astype(jnp.float32)
            classes = self.class_conv(self.class_branch(x, mask)).astype(jnp.float32)
            p = jax.nn.sigmoid(classes)
            scores.append(p * self._quality(logits) if self.settings.quality else p)
            sides.append(logits)
        return GflMaps(tuple(scores), tuple(sides))

    def _quality(self, logits: jax.Array) -> jax.Array:
        """In [0, 1], shape (batch, H, W, 1): how sharp the four distributions are."""
        p = jax.nn.softmax(logits.reshape(*logits.shape[:-1], 4, -1))
        top, _ = jax.lax.top_k(p, TOP_BINS)
        seen = jnp.concatenate([top, top.mean(-1, keepdims=True)], axis=-1)
        seen = seen.reshape(*logits.shape[:-1], -1)
        hidden = jax.nn.relu(self.quality_in(seen))
        return jax.nn.sigmoid(self.quality_out(hidden).astype(jnp.float32))


def anchors_of(sizes: Sequence[tuple[int, int]], strides: Sequence[int]) -> np.ndarray:
    """One square a point, centred at (j, i) times the stride, shape (n, 4)."""
    # Not at the middle of the map's pixel, unlike FCOS's points.
    return np.concatenate(
        [
            np.concatenate([grid(size, s, 0.0) - ANCHOR_SCALE * s / 2] * 2, axis=-1)
            + np.array([0, 0, 1, 1], np.float32) * ANCHOR_SCALE * s
            for size, s in zip(sizes, strides, strict=True)
        ]
    )


def expected(sides: jax.Array) -> jax.Array:
    """The mean of each side's distribution, in strides: (..., 4 * 17) to (..., 4)."""
    logits = sides.reshape(*sides.shape[:-1], 4, LARGEST_BIN + 1)
    return jax.nn.softmax(logits) @ jnp.arange(LARGEST_BIN + 1, dtype=logits.dtype)


def decode(
    maps: GflMaps,
    image_sizes: jax.Array,
    settings: GflSettings = V2,
    strides: Sequence[int] = STRIDES,
) -> Detections:
    """The boxes of a batch, with a leading axis over its images.

    Of each map the best points by their largest score go on, each with all its classes.

    Args:
        maps: of the head.
        image_sizes: height and width of each image on its canvas, (batch, 2): boxes end there.
        settings, strides: see there.
    """
    sizes = sizes_of(maps.scores)
    anchors = anchors_of(sizes, strides)
    centres = jnp.asarray((anchors[:, :2] + anchors[:, 2:]) / 2)
    lengths = jnp.asarray(per_place(strides, sizes))

    def one(scores: jax.Array, sides: jax.Array, size: jax.Array) -> Detections:
        chosen, start = [], 0
        for count in counts(sizes):
            best = scores[start : start + count].max(-1)
            chosen.append(jax.lax.top_k(best, min(settings.candidates, count))[1] + start)
            start += count
        points = jnp.concatenate(chosen)
        distances = expected(sides[points]) * lengths[points, None]
        boxes = b.clip(b.from_distances(centres[points], distances), size)
        found = scores[points]
        classes = found.shape[1]
        found = jnp.where(found > settings.score_min, found, -jnp.inf)
        return best_detections(
            jnp.repeat(boxes, classes, axis=0),
            found.ravel(),
            jnp.tile(jnp.arange(classes), len(points)),
            settings.nms_iou,
            settings.limit,
        )

    return jax.vmap(one)(joined(maps.scores), joined(maps.sides), image_sizes)
