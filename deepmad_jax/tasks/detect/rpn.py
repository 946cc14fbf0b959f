"""Region proposals: three anchors at every place, each with a score and a shift.

Source: Ren et al. 2015 (arXiv 1506.01497) on a pyramid (arXiv 1612.03144), as mmdetection has it.
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
from deepmad_jax.tasks.detect import losses
from deepmad_jax.tasks.detect.levels import counts, grid, joined
from deepmad_jax.tasks.detect.matching import RPN_OVERLAPS, match, sample
from deepmad_jax.tasks.detect.nms import nms

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors of a place."""

SCALE = 8
"""Root of an anchor's area, in strides."""

STRIDES = (4, 8, 16, 32, 64)

STDS = (1.0, 1.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class RpnSettings:
    """How proposals are chosen and learned.

    Attributes:
        candidates: best anchors of a map that go on to suppression.
        limit: proposals of an image.
        nms_iou: overlap above which the worse of two proposals of a map goes.
        samples, positive_share: anchors of an image that are learned from.
        beta: of smooth L1; 0 is L1.
    """

    candidates: int = 2000
    limit: int = 1000
    nms_iou: float = 0.7
    samples: int = 256
    positive_share: float = 0.5
    beta: float = 0.0


class RpnMaps(NamedTuple):
    """One array a map, float32: logits (batch, H_i, W_i, 3) and deltas (batch, H_i, W_i, 12)."""

    logits: tuple[jax.Array, ...]
    deltas: tuple[jax.Array, ...]

    def flat(self) -> tuple[jax.Array, jax.Array]:
        """Of every anchor, in the order of `anchors_of`: (batch, n) and (batch, n, 4)."""
        batch = self.logits[0].shape[0]
        logits, deltas = joined(self.logits), joined(self.deltas)
        return logits.reshape(batch, -1), deltas.reshape(batch, -1, 4)

    def counts(self) -> list[int]:
        """Anchors of each map."""
        return [len(RATIOS) * n for n in counts([x.shape[1:3] for x in self.logits])]


class RpnHead(nnx.Module):
    """Maps of a pyramid to `RpnMaps`."""

    def __init__(self, c_in: int, making: Making, *, width: int = 256):
        draw = normal(0.01)
        self.shared = conv(making, c_in, width, 3, draw=draw)
        self.score = conv(making, width, len(RATIOS), 1, draw=draw)
        self.shift = conv(making, width, 4 * len(RATIOS), 1, draw=draw)

    def __call__(self, maps: Sequence[jax.Array]) -> RpnMaps:
        """What is at every place."""
        hidden = [jax.nn.relu(self.shared(x)) for x in maps]
        return RpnMaps(
            tuple(self.score(x).astype(jnp.float32) for x in hidden),
            tuple(self.shift(x).astype(jnp.float32) for x in hidden),
        )


def anchors_of(sizes: Sequence[tuple[int, int]], strides: Sequence[int] = STRIDES) -> np.ndarray:
    """Three boxes a place around (j, i) times the stride, place by place, shape (n, 4)."""
    every = []
    for size, stride in zip(sizes, strides, strict=True):
        sides = np.array([[1 / math.sqrt(r), math.sqrt(r)] for r in RATIOS]) * SCALE * stride
        base = np.concatenate([-sides / 2, sides / 2], axis=-1).astype(np.float32)
        places = np.tile(grid(size, stride, 0.0), 2)
        every.append((places[:, None] + base).reshape(-1, 4))
    return np.concatenate(every)


def proposals(
    maps: RpnMaps,
    anchors: jax.Array,
    image_sizes: jax.Array,
    settings: RpnSettings,
) -> tuple[jax.Array, jax.Array]:
    """Boxes (batch, limit, 4) by falling score, and their scores, -inf where there are no more.

    Args:
        maps: of the head.
        anchors: of `anchors_of`.
        image_sizes: height and width of each image on its canvas, (batch, 2): boxes end there.
        settings: see there.
    """
    numbers = maps.counts()

    def one(logits: jax.Array, deltas: jax.Array, size: jax.Array) -> tuple[jax.Array, ...]:
        chosen, start = [], 0
        for count in numbers:
            top = jax.lax.top_k(logits[start : start + count], min(settings.candidates, count))[1]
            chosen.append(top + start)
            start += count
        level = jnp.concatenate([jnp.full(len(c), i) for i, c in enumerate(chosen)])
        place = jnp.concatenate(chosen)
        boxes = b.clip(b.decode(jnp.asarray(anchors)[place], deltas[place], STDS), size)
        whole = (boxes[:, 2:] > boxes[:, :2]).all(-1)
        scores = jnp.where(whole, jax.nn.sigmoid(logits[place]), -jnp.inf)
        index, valid = nms(boxes, scores, settings.nms_iou, settings.limit, level)
        return boxes[index], jnp.where(valid, scores[index], -jnp.inf)

    return jax.vmap(one)(*maps.flat(), image_sizes)


def rpn_losses(
    maps: RpnMaps,
    anchors: jax.Array,
    boxes: jax.Array,
    valid: jax.Array,
    keys: jax.Array,
    settings: RpnSettings,
    counted: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """``loss_rpn_score`` and ``loss_rpn_box`` of a batch, over a sample of each image's anchors.

    Args:
        maps, anchors, settings: as in `proposals`.
        boxes, valid: shape (batch, m, 4), and which are no padding, (batch, m).
        keys: draw the samples of each image, typed, shape (batch,).
        counted: anchors whose centre lies on the image, boolean (batch, n); None: all.
    """
    logits, deltas = maps.flat()
    anchors = jnp.asarray(anchors)
    counted = jnp.ones(logits.shape, bool) if counted is None else counted

    def one(
        logits: jax.Array,
        deltas: jax.Array,
        boxes: jax.Array,
        valid: jax.Array,
        counted: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, ...]:
        # An anchor off the image overlaps nothing, and is no background either.
        found = match(jnp.where(counted[:, None], anchors, 0.0), boxes, valid, RPN_OVERLAPS)
        found = jnp.where(counted, found, -2)
        taken = sample(found, key, min(settings.samples, len(found)), settings.positive_share)
        score = losses.binary_cross_entropy(logits[taken.index], taken.positive.astype(jnp.float32))
        at = anchors[taken.index]
        target = jnp.where(taken.positive[:, None], boxes[taken.box.clip(0)], at)
        shift = deltas[taken.index] - b.encode(at, target, STDS)
        box = losses.smooth_l1(shift, settings.beta).sum(-1) * taken.positive
        return (score * taken.counted).sum(), box.sum(), taken.counted.sum()

    score, box, number = jax.vmap(one)(logits, deltas, boxes, valid, counted, keys)
    number = jnp.maximum(number.sum(), 1)
    return {"loss_rpn_score": score.sum() / number, "loss_rpn_box": box.sum() / number}
