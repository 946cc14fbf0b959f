"""Detectors that say at every point of every map what is there: FCOS and GFL, end to end."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.config import DetectConfig
from deepmad_jax.nets.fpn import FCOS_EXTRA, FPN, GFL_EXTRA, Extra
from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.backbone import Backbone
from deepmad_jax.tasks.detect import fcos, gfl
from deepmad_jax.tasks.detect.detector import Truth, filled
from deepmad_jax.tasks.detect.fcos_loss import fcos_losses
from deepmad_jax.tasks.detect.gfl_loss import gfl_losses
from deepmad_jax.tasks.detect.levels import inside_maps, sizes_of
from deepmad_jax.tasks.detect.nms import Detections

STRIDES = (8, 16, 32)
"""Of the backbone's maps; two more stand above."""


@dataclasses.dataclass(frozen=True)
class Dense:
    """One kind of dense head.

    Attributes:
        extra: what stands above the backbone's maps.
        head: its class.
        settings: of the head.
        losses: of its maps, boxes, labels and points on the image.
        decode: of its maps and the images' sizes.
    """

    extra: Extra
    head: Callable[..., Any]
    settings: Any
    losses: Callable[[Any, Truth, jax.Array, Any], dict[str, jax.Array]]
    decode: Callable[[Any, jax.Array, Any], Detections]


class DenseDetector(nnx.Module):
    """A `detector.Detector` of one map of answers a level.

    Args:
        kind: of its head.
        backbone: gives maps at `STRIDES`.
        classes: to tell apart.
        detect: widths.
        making: how neck and head are made.
    """

    def __init__(
        self, kind: Dense, backbone: Backbone, classes: int, detect: DetectConfig, making: Making
    ):
        self.kind, self.backbone = kind, backbone
        self.neck = FPN(backbone.channels, detect.width, kind.extra, making)
        self.head = kind.head(
            detect.width,
            len(STRIDES) + kind.extra.count,
            classes,
            making,
            width=detect.width,
            depth=detect.depth,
            groups=detect.groups,
            settings=kind.settings,
        )

    def losses(
        self, images: jax.Array, truth: Truth, key: jax.Array | None
    ) -> dict[str, jax.Array]:
        """See `detector.Detector`."""
        maps, inside = self._maps(images, truth.sizes, True, key)
        points = jnp.concatenate([mask.reshape(len(images), -1) for mask in inside], axis=1)
        values = self.kind.losses(maps, truth, points, self.kind.settings)
        return {name: value.sum() for name, value in values.items()}

    def detections(
        self, images: jax.Array, sizes: jax.Array
    ) -> tuple[Detections, jax.Array | None]:
        """See `detector.Detector`."""
        maps, _ = self._maps(images, sizes, False, None)
        return self.kind.decode(maps, sizes, self.kind.settings), None

    def _maps(
        self, images: jax.Array, sizes: jax.Array, train: bool, key: jax.Array | None
    ) -> tuple[Any, list[jax.Array]]:
        maps = self.neck(self.backbone(images, train, key))
        inside = inside_maps(sizes_of(maps), fcos.STRIDES, filled(sizes))
        return self.head(maps, inside), inside


def _fcos_losses(
    maps: fcos.FcosMaps, truth: Truth, inside: jax.Array, settings: fcos.FcosSettings
) -> dict[str, jax.Array]:
    return fcos_losses(maps, truth.boxes, truth.labels, settings, inside=inside)


def _gfl_losses(
    maps: gfl.GflMaps, truth: Truth, inside: jax.Array, settings: gfl.GflSettings
) -> dict[str, jax.Array]:
    return gfl_losses(maps, truth.boxes, truth.labels, inside=inside)


FCOS = Dense(FCOS_EXTRA, fcos.FcosHead, fcos.PLAIN, _fcos_losses, fcos.decode)
FCOS_TRICKS = dataclasses.replace(FCOS, settings=fcos.TRICKS)
GFL_V2 = Dense(GFL_EXTRA, gfl.GflHead, gfl.V2, _gfl_losses, gfl.decode)
GFL_V1 = dataclasses.replace(GFL_V2, settings=gfl.V1)
