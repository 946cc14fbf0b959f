"""Which anchors or proposals answer for which box by their overlap, and a random sample of them.

Source: Ren et al. 2015 (arXiv 1506.01497), section 3.1.2, as mmdetection has it.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deepmad_jax.tasks.detect import boxes as b

NEITHER, BACKGROUND = -2, -1


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """Thresholds of the IoU.

    Attributes:
        positive: a candidate answers for the box it overlaps most, from here on.
        negative: below, it is background; between the two it is neither.
        least: a box's best candidates answer for it from here on, though they stay below
            ``positive``; None: they do not.
        ignored: candidates of which a greater share than this lies in an ignored box are neither;
            None: ignored boxes mean nothing.
    """

    positive: float
    negative: float
    least: float | None = None
    ignored: float | None = None


RPN_OVERLAPS = Overlaps(0.7, 0.3, least=0.3)
ROI_OVERLAPS = Overlaps(0.5, 0.5, least=0.5)
CASCADE_OVERLAPS = (Overlaps(0.5, 0.5), Overlaps(0.6, 0.6), Overlaps(0.7, 0.7))


def match(
    candidates: jax.Array,
    boxes: jax.Array,
    valid: jax.Array,
    rule: Overlaps,
    ignored: jax.Array | None = None,
    is_ignored: jax.Array | None = None,
) -> jax.Array:
    """The box of each candidate: its place, `BACKGROUND`, or `NEITHER`; int32 (n,).

    Args:
        candidates: shape (n, 4).
        boxes, valid: shape (m, 4), and which of them are no padding, boolean (m,).
        rule: see there.
        ignored, is_ignored: boxes, shape (k, 4), and which are no padding, of no class: crowds.
    """
    candidates, boxes = jnp.asarray(candidates), jnp.asarray(boxes)
    overlaps = jnp.where(valid, b.iou(candidates[:, None], boxes), 0.0)
    if rule.ignored is not None and ignored is not None:
        share = b.share_inside(candidates[:, None], jnp.asarray(ignored))
        share = share if is_ignored is None else jnp.where(is_ignored, share, 0.0)
        # No box's best candidate either.
        overlaps = jnp.where((share.max(-1) > rule.ignored)[:, None], -1.0, overlaps)
    most = overlaps.max(-1)
    found = jnp.where((most >= 0) & (most < rule.negative), BACKGROUND, NEITHER)
    found = jnp.where((most >= rule.positive) & valid.any(), overlaps.argmax(-1), found)
    if rule.least is not None:
        best = overlaps.max(0)
        is_best = (overlaps == best) & (best >= rule.least) & valid
        # Of several boxes the last one counts, as where they are gone through one by one.
        last = overlaps.shape[1] - 1 - jnp.argmax(is_best[:, ::-1], axis=-1)
        found = jnp.where(is_best.any(-1), last, found)
    return found.astype(jnp.int32)


class Sample(NamedTuple):
    """Places among the candidates, shape (k,), and what each is.

    Attributes:
        index: place.
        box: of `match`; `NEITHER` where the sample is not filled.
    """

    index: jax.Array
    box: jax.Array

    @property
    def positive(self) -> jax.Array:
        return self.box >= 0

    @property
    def counted(self) -> jax.Array:
        return self.box != NEITHER


def sample(found: jax.Array, key: jax.Array, number: int, positive_share: float) -> Sample:
    """``number`` candidates at random, at most ``positive_share`` of them positive, those first.

    Args:
        found: of `match`, shape (n,); n is at least ``number``.
        key: draws them.
        number, positive_share: the rest are negatives, as many as there are.
    """
    draws = jax.random.uniform(key, found.shape)
    most = int(number * positive_share)
    some_positive = _drawn(found >= 0, draws, most)
    room = number - (some_positive >= 0).sum()
    some_negative = _drawn(found == BACKGROUND, draws, number)
    some_negative = jnp.where(jnp.arange(number) < room, some_negative, -1)
    places = jnp.concatenate([some_positive, some_negative])
    # Those that are there, in order; no more than ``number`` are.
    order = jnp.argsort(places < 0, stable=True)[:number]
    index = places[order]
    return Sample(index.clip(0), jnp.where(index >= 0, found[index.clip(0)], NEITHER))


def _drawn(wanted: jax.Array, draws: jax.Array, most: int) -> jax.Array:
    """Places of at most ``most`` wanted ones, -1 where there are no more."""
    value, place = jax.lax.top_k(jnp.where(wanted, draws, -1.0), most)
    return jnp.where(value >= 0, place, -1)
