"""The network that gives every pixel a class: backbone, UPerNet's head, auxiliary head."""

from typing import Any

import jax
import numpy as np
from flax import nnx

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config, SegmentConfig
from deepmad_jax.nets.parts import Making, layer_norm
from deepmad_jax.tasks.backbone import Backbone, as_backbone, take_pretrained
from deepmad_jax.tasks.classify.task import DTYPES, make_network
from deepmad_jax.tasks.segment.loss import pixel_loss
from deepmad_jax.tasks.segment.upernet import AuxiliaryHead, UperHead

STRIDES = (4, 8, 16, 32)
"""Of the backbone's maps."""

AUXILIARY = 2
"""Which of them the auxiliary head sits on."""


class Segmenter(nnx.Module):
    """Normalised images ``(batch, H, W, 3)`` to logits of every fourth pixel; any H and W.

    Args:
        backbone: gives maps at `STRIDES`.
        segment: widths and weights.
        making: how the heads are made.
    """

    def __init__(self, backbone: Backbone, segment: SegmentConfig, making: Making):
        self.backbone, self.aux_weight = backbone, segment.aux_weight
        channels, classes, dropout = backbone.channels, segment.classes, segment.dropout
        norms = channels if segment.norm_maps else ()
        self.norms = nnx.List([layer_norm(width) for width in norms])
        self.head = UperHead(channels, segment.width, segment.pools, classes, dropout, making)
        self.auxiliary = AuxiliaryHead(
            channels[AUXILIARY], segment.aux_width, classes, dropout, making
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Float32 logits ``(batch, ceil(H / 4), ceil(W / 4), classes)``."""
        return self.head(self._maps(images, False, None))

    def losses(
        self, images: jax.Array, labels: jax.Array, keys: jax.Array, key: jax.Array
    ) -> tuple[dict[str, jax.Array], jax.Array]:
        """Scalars by name, whose sum is minimised, and the share of pixels that are right.

        Args:
            images: on their canvas.
            labels: of the canvas, (batch, H, W); `loss.IGNORED` is none.
            keys: typed, one an image, for dropout.
            key: for the backbone.
        """
        for_head, for_auxiliary = jax.vmap(jax.random.split, out_axes=1)(keys)
        maps = self._maps(images, True, key)
        main, right = pixel_loss(self.head(maps, True, for_head), labels)
        second, _ = pixel_loss(self.auxiliary(maps[AUXILIARY], True, for_auxiliary), labels)
        return {"loss_pixels": main, "loss_auxiliary": self.aux_weight * second}, right

    def _maps(self, images: jax.Array, train: bool, key: jax.Array | None) -> list[jax.Array]:
        maps = self.backbone(images, train, key)
        if not self.norms:
            return maps
        return [norm(x).astype(x.dtype) for norm, x in zip(self.norms, maps, strict=True)]


def make_segmenter(arch: Architecture, config: Config, fresh: bool) -> Segmenter:
    """The network that ``config.segment`` asks for.

    Args:
        arch: of the backbone.
        config: of the run.
        fresh: its weights will be used; False leaves files of weights unread.
    Raises:
        InvalidConfig: no maps of these strides, or weights of another architecture.
        UserError: weights that cannot be read.
    """
    settings, segment = config.train, config.segment
    net: Any = make_network(as_backbone(arch), settings)
    if segment.pretrained is not None and fresh:
        take_pretrained(net, segment.pretrained, "config.segment.pretrained")
    making = Making(
        np.random.default_rng(settings.seed),
        DTYPES[settings.dtype],
        cpu_convs=jax.default_backend() == "cpu",
        batch_norm_momentum=settings.batch_norm_momentum,
    )
    return Segmenter(Backbone(net, STRIDES, "UPerNet"), segment, making)
