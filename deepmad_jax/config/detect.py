"""How boxes and masks are found and learned: ``config.detect``."""

import dataclasses
from typing import Annotated

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import (
    Count,
    FilePath,
    Natural,
    OneOf,
    Pixels,
    Positive,
    Share,
    settle,
)

HEADS = ("fcos", "fcos_tricks", "gfl", "gfl_v1", "mask_rcnn", "cascade_mask_rcnn")
"""What ``config.detect.head`` may be; `tasks.detect.detectors` holds what each is."""

NORMS = ("fixed", "affine", "trained")
"""What ``config.detect.batch_norm`` may be."""

WARMUPS = ("constant", "linear")
"""What ``config.detect.warmup`` may be."""


@dataclasses.dataclass(frozen=True)
class DetectConfig:
    """How boxes are found and learned; the defaults are FCOS's of the paper's Table 4.

    ``config.train`` has epochs, batch, peak rate, momentum (without Nesterov here), decay (of all
    parameters here) and clipping; its cosine, warm-up and cool-down are not used. ``config.data``
    has the folder (``data_dir``, with ``annotations/instances_SPLIT.json`` and the images of a
    split in ``SPLIT/`` or ``SPLIT.array_record``), the splits, ``flip``, ``corrupt_share`` and
    ``workers``.

    Attributes:
        head: one of `HEADS`.
        width: channels of the pyramid and of dense heads.
        depth: convs of each branch of a dense head, and of a mask head.
        groups: of a dense head's GroupNorm.
        hidden: width of the dense layers that judge a proposal.
        candidates, eval_candidates: best places of a map that go on to suppression when proposals
            are made, in training and in the evaluation.
        proposals, eval_proposals: of an image.
        anchor_samples, proposal_samples: of an image that are learned from.
        pretrained: weights of the backbone: a run's workdir, or a file that `interop` reads, of the
            same architecture, with any number of classes. None: fresh ones.
        frozen_stages: stages as a ResNet counts them that do not train: 1 is all up to stride 4, 2
            all up to 8; 0 trains everything.
        batch_norm: of the backbone: ``fixed`` (statistics, scale and bias), ``affine`` (scale and
            bias train) or ``trained``.
        short_sides: of a training image, pixels, one drawn for each.
        eval_short_side: of an evaluation image.
        long_side: greatest, pixels; where the short side's size would pass it, it counts.
        most_boxes: of an image that are learned; the largest, where there are more.
        mask_px: side of the square in which an object's mask is learned from.
        bias_rate: factor of the learning rate for the biases of convs and dense layers.
        bias_decays: whether they decay.
        warmup: ``constant`` at ``warmup_factor`` of the rate, or ``linear`` from it.
        warmup_steps: how long.
        drop_epochs: after which the rate falls to ``drop_factor`` of itself.
        images: files that the ``detect`` job draws boxes on.
        score: least score of a box that it draws.
        export_size: height and width of the images that an exported detector takes, multiples of
            32.
        export_nms: whether the exported detector suppresses overlapping boxes itself.
    """

    head: Annotated[str, OneOf(HEADS)] = "fcos"
    width: Count = 256
    depth: Count = 4
    groups: Count = 32
    hidden: Count = 1024
    candidates: Count = 2000
    eval_candidates: Count = 1000
    proposals: Count = 1000
    eval_proposals: Count = 1000
    anchor_samples: Count = 256
    proposal_samples: Count = 512
    pretrained: FilePath | None = None
    frozen_stages: Natural = 1
    batch_norm: Annotated[str, OneOf(NORMS)] = "fixed"
    short_sides: tuple[Pixels, ...] = (640, 800)
    eval_short_side: Pixels = 800
    long_side: Pixels = 1333
    most_boxes: Count = 100
    mask_px: Count = 56
    bias_rate: Positive = 2.0
    bias_decays: bool = False
    warmup: Annotated[str, OneOf(WARMUPS)] = "constant"
    warmup_factor: Positive = 1 / 3
    warmup_steps: Natural = 500
    drop_epochs: tuple[Positive, ...] = (16.0, 22.0)
    drop_factor: Positive = 0.1
    images: tuple[FilePath, ...] = ()
    score: Share = 0.3
    export_size: tuple[Pixels, ...] = (800, 1344)
    export_nms: bool = True

    def __post_init__(self) -> None:
        settle(self)
        if not self.short_sides:
            raise InvalidConfig("short_sides is empty; name at least one, such as 640,800.")
        if list(self.drop_epochs) != sorted(self.drop_epochs):
            raise InvalidConfig(f"drop_epochs is {self.drop_epochs}, but must rise.")
        if len(self.export_size) != 2 or any(side % 32 for side in self.export_size):
            raise InvalidConfig(
                f"export_size is {self.export_size}, but must be a height and a width, multiples "
                "of 32, such as 800,1344."
            )
        if self.width % self.groups:
            raise InvalidConfig(
                f"width is {self.width}, which groups={self.groups} groups do not divide: change "
                "one."
            )
