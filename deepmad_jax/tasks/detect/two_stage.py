"""Detectors that first propose boxes and then judge them: Mask R-CNN and Cascade Mask R-CNN.

Source: He et al. 2017 (arXiv 1703.06870) and Cai and Vasconcelos 2018 (arXiv 1712.00726), as
mmdetection trains them. One stage of judging is Mask R-CNN, three are the cascade.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.config import DetectConfig
from deepmad_jax.nets.fpn import FPN, MASK_RCNN_EXTRA
from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.backbone import Backbone
from deepmad_jax.tasks.detect import boxes as b
from deepmad_jax.tasks.detect.detector import Truth, filled
from deepmad_jax.tasks.detect.levels import inside_maps, sizes_of
from deepmad_jax.tasks.detect.masks import targets as mask_targets
from deepmad_jax.tasks.detect.matching import (
    CASCADE_OVERLAPS,
    NEITHER,
    ROI_OVERLAPS,
    Overlaps,
    Sample,
    match,
    sample,
)
from deepmad_jax.tasks.detect.nms import Detections, best_detections
from deepmad_jax.tasks.detect.roi_align import from_pyramid
from deepmad_jax.tasks.detect.roi_heads import (
    BOX_BINS,
    CASCADE_CODES,
    MASK_BINS,
    MASK_PX,
    BoxCode,
    BoxHead,
    MaskHead,
    box_losses,
    mask_loss,
)
from deepmad_jax.tasks.detect.rpn import (
    RATIOS,
    RpnHead,
    RpnMaps,
    RpnSettings,
    anchors_of,
    proposals,
    rpn_losses,
)
from deepmad_jax.tasks.detect.rpn import STRIDES as RPN_STRIDES

STRIDES = (4, 8, 16, 32)
"""Of the backbone's maps, which proposals are read off; one more stands above for the RPN."""

POSITIVE_SHARE = 0.25
"""Of the proposals that are learned from, at most."""

SCORE_MIN, NMS_IOU, LIMIT = 0.05, 0.5, 100


@dataclasses.dataclass(frozen=True)
class Stage:
    """One round of judging.

    Attributes:
        overlaps: which proposals answer for which box.
        code: how its deltas are meant.
        weight: of its losses.
    """

    overlaps: Overlaps
    code: BoxCode
    weight: float


@dataclasses.dataclass(frozen=True)
class TwoStage:
    """One kind of detector.

    Attributes:
        stages: in order; each begins with the boxes of the one before.
        rpn_beta: of the proposals' smooth L1; 0 is L1.
    """

    stages: tuple[Stage, ...]
    rpn_beta: float


MASK_RCNN = TwoStage((Stage(ROI_OVERLAPS, BoxCode(), 1.0),), 0.0)
CASCADE = TwoStage(
    tuple(map(Stage, CASCADE_OVERLAPS, CASCADE_CODES, (1.0, 0.5, 0.25))), rpn_beta=1.0 / 9.0
)


class _Chosen(NamedTuple):
    """Proposals that are learned from: shapes (batch, n, 4), and `Sample` with a batch axis."""

    rois: jax.Array
    sample: Sample


class TwoStageDetector(nnx.Module):
    """A `detector.Detector` with masks.

    Args:
        kind: its stages.
        backbone: gives maps at `STRIDES`.
        classes: to tell apart.
        detect: widths and numbers.
        making: how neck and heads are made.
    """

    def __init__(
        self, kind: TwoStage, backbone: Backbone, classes: int, detect: DetectConfig, making: Making
    ):
        self.kind, self.backbone, self.detect, self.classes = kind, backbone, detect, classes
        width = detect.width
        self.neck = FPN(backbone.channels, width, MASK_RCNN_EXTRA, making)
        self.rpn = RpnHead(width, making, width=width)
        self.box_heads = nnx.List(
            [
                BoxHead(width, classes, making, width=detect.hidden, code=stage.code)
                for stage in kind.stages
            ]
        )
        self.mask_heads = nnx.List(
            [MaskHead(width, classes, making, width=width, depth=detect.depth) for _ in kind.stages]
        )

    def losses(
        self, images: jax.Array, truth: Truth, key: jax.Array | None
    ) -> dict[str, jax.Array]:
        """See `detector.Detector`."""
        assert truth.masks is not None
        maps = self.neck(self.backbone(images, True, key))
        found = self.rpn(maps)
        sizes = sizes_of(maps)
        anchors = anchors_of(sizes, RPN_STRIDES)
        inside = inside_maps(sizes, RPN_STRIDES, filled(truth.sizes))
        counted = jnp.concatenate([x.reshape(len(images), -1) for x in inside], axis=1)
        valid = truth.labels >= 0
        keys = jax.vmap(lambda k: jax.random.split(k, 1 + len(self.kind.stages)))(truth.keys)
        values = rpn_losses(
            found,
            jnp.asarray(anchors),
            truth.boxes,
            valid,
            keys[:, 0],
            self.rpn_settings(True),
            jnp.repeat(counted, len(RATIOS), axis=1),
        )
        rois, scores = self._proposals(found, anchors, truth.sizes, True)
        there = scores > -jnp.inf
        for i, stage in enumerate(self.kind.stages):
            chosen = self._choose(rois, there, truth, valid, stage.overlaps, keys[:, 1 + i])
            own, rois = self._stage_losses(i, maps, chosen, truth)
            # The boxes that were added to the proposals are added again.
            there = chosen.sample.counted & (chosen.sample.index >= truth.boxes.shape[1])
            prefix = f"stage{i + 1}_" if len(self.kind.stages) > 1 else ""
            values |= {f"loss_{prefix}{name}": stage.weight * value for name, value in own.items()}
        return values

    def detections(
        self, images: jax.Array, sizes: jax.Array
    ) -> tuple[Detections, jax.Array | None]:
        """See `detector.Detector`; class logits are averaged over the stages, masks too."""
        maps = self.neck(self.backbone(images))
        anchors = anchors_of(sizes_of(maps), RPN_STRIDES)
        rois, scores = self._proposals(self.rpn(maps), anchors, sizes, False)
        logits: jax.Array | float = 0.0
        for i, (stage, head) in enumerate(zip(self.kind.stages, self.box_heads, strict=True)):
            own, deltas = self._judge(head, maps, rois)
            logits += own / len(self.kind.stages)
            boxes = b.decode(rois[:, :, None], deltas, stage.code.stds)
            boxes = b.clip(boxes, sizes[:, None, None])
            if i + 1 < len(self.kind.stages):
                rois = boxes[:, :, 0]
        p = jax.nn.softmax(jnp.asarray(logits))[..., :-1]
        there = (p > SCORE_MIN) & (scores > -jnp.inf)[..., None]
        boxes = jnp.broadcast_to(boxes, (*p.shape, 4))
        labels = jnp.tile(jnp.arange(p.shape[-1]), p.shape[1])

        def best(boxes: jax.Array, p: jax.Array) -> Detections:
            return best_detections(boxes.reshape(-1, 4), p.ravel(), labels, NMS_IOU, LIMIT)

        found = jax.vmap(best)(boxes, jnp.where(there, p, -jnp.inf))
        own = found.labels.clip(0)[:, :, None, None, None]
        grids = _read(maps, found.boxes, MASK_BINS)
        masks: jax.Array | float = 0.0
        for mask_head in self.mask_heads:
            given = _for_all(mask_head, grids)
            masks += jax.nn.sigmoid(jnp.take_along_axis(given, own, axis=-1)[..., 0])
        return found, jnp.asarray(masks) / len(self.kind.stages)

    def rpn_settings(self, train: bool) -> RpnSettings:
        """How proposals are chosen in training or in the evaluation."""
        detect = self.detect
        return RpnSettings(
            candidates=detect.candidates if train else detect.eval_candidates,
            limit=detect.proposals if train else detect.eval_proposals,
            samples=detect.anchor_samples,
            beta=self.kind.rpn_beta,
        )

    def _proposals(
        self, found: RpnMaps, anchors: jax.Array, sizes: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        # They are taken as they are: no gradient comes back through a proposal's place.
        found = jax.tree.map(jax.lax.stop_gradient, found)
        return proposals(found, jnp.asarray(anchors), sizes, self.rpn_settings(train))

    def _choose(
        self,
        rois: jax.Array,
        there: jax.Array,
        truth: Truth,
        valid: jax.Array,
        overlaps: Overlaps,
        keys: jax.Array,
    ) -> _Chosen:
        """A sample of the boxes themselves and the proposals, image by image."""

        def one(
            rois: jax.Array, there: jax.Array, boxes: jax.Array, valid: jax.Array, key: jax.Array
        ) -> _Chosen:
            rois, there = jnp.concatenate([boxes, rois]), jnp.concatenate([valid, there])
            found = jnp.where(there, match(rois, boxes, valid, overlaps), NEITHER)
            number = min(self.detect.proposal_samples, len(rois))
            taken = sample(found, key, number, POSITIVE_SHARE)
            return _Chosen(rois[taken.index], taken)

        return jax.vmap(one)(rois, there, truth.boxes, valid, keys)

    def _stage_losses(
        self, i: int, maps: Sequence[jax.Array], chosen: _Chosen, truth: Truth
    ) -> tuple[dict[str, jax.Array], jax.Array]:
        """The losses of a stage, and the boxes that it makes of its proposals."""
        assert truth.masks is not None
        stage, rois, taken = self.kind.stages[i], chosen.rois, chosen.sample
        logits, deltas = self._judge(self.box_heads[i], maps, rois)
        place = taken.box.clip(0)
        positive = taken.positive
        label = jnp.where(positive, jnp.take_along_axis(truth.labels, place, 1), self.classes)
        target = jnp.take_along_axis(truth.boxes, place[..., None], axis=1)
        values = box_losses(
            *map(_flat, (logits, deltas, rois, label, target, taken.counted)), stage.code
        )

        # Positives come first in a sample.
        most = int(rois.shape[1] * POSITIVE_SHARE)
        some = (rois[:, :most], label[:, :most], target[:, :most], positive[:, :most])
        bitmaps = jnp.take_along_axis(truth.masks, place[:, :most, None, None], axis=1)
        rois_, label_, target_, positive_ = some
        given = _for_all(self.mask_heads[i], _read(maps, rois_, MASK_BINS))
        wanted = mask_targets(_flat(bitmaps), _flat(target_), _flat(rois_), MASK_PX)
        values["mask"] = mask_loss(_flat(given), wanted, _flat(label_), _flat(positive_))

        refined = b.decode(rois, jax.lax.stop_gradient(deltas[:, :, 0]), stage.code.stds)
        named = {name.removeprefix("loss_"): value for name, value in values.items()}
        return named, b.clip(refined, truth.sizes[:, None])

    def _judge(
        self, head: BoxHead, maps: Sequence[jax.Array], rois: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Logits (batch, n, classes + 1) and deltas (batch, n, classes or 1, 4)."""
        logits, deltas = head(_flat(_read(maps, rois, BOX_BINS)))
        batch, number = rois.shape[:2]
        return logits.reshape(batch, number, -1), deltas.reshape(batch, number, -1, 4)


def _read(maps: Sequence[jax.Array], rois: jax.Array, out: int) -> jax.Array:
    """Grids of each image's boxes, shape (batch, n, out, out, channels)."""

    def one(maps: tuple[jax.Array, ...], rois: jax.Array) -> jax.Array:
        return from_pyramid(maps, rois, out, STRIDES[0])

    return jax.vmap(one)(tuple(maps[: len(STRIDES)]), rois)


def _for_all(head: MaskHead, grids: jax.Array) -> jax.Array:
    given = head(_flat(grids))
    return given.reshape(*grids.shape[:2], *given.shape[1:])


def _flat(x: jax.Array) -> jax.Array:
    """Images and their proposals on one axis."""
    return x.reshape(-1, *x.shape[2:])
