"""UPerNet's head and the auxiliary head beside it: a backbone's maps to logits of every pixel.

The coarsest map is averaged over grids of several sides, so that each pixel knows its surroundings;
a feature pyramid hands that down to the finer maps; all of them, made as large as the finest, are
fused.

Source: Xiao et al. 2018 (arXiv 1807.10221); pooled maps of Zhao et al. 2017 (arXiv 1612.01105);
widths and norms as mmsegmentation trains them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.nets.parts import ConvNorm, Making, conv, drop_channels, normal
from deepmad_jax.nets.resize import pooled, resized

CLASSES_STD = 0.01
"""Of the initial values of the conv that gives logits."""


class UperHead(nnx.Module):
    """Four maps, finest first, to float32 logits ``(batch, H, W, classes)`` of the finest's size.

    Args:
        channels: of the maps.
        width: of the pyramid.
        pools: sides of the pooled maps.
        classes: to tell apart.
        dropout: probability of a channel to be zeroed before the logits, in training.
        making: how its convs are made.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        pools: Sequence[int],
        classes: int,
        dropout: float,
        making: Making,
    ):
        self.pools, self.dropout = tuple(pools), dropout
        *finer, coarsest = channels
        self.pooled = nnx.List([ConvNorm(making, coarsest, width, 1) for _ in pools])
        self.context = ConvNorm(making, coarsest + len(pools) * width, width, 3)
        self.laterals = nnx.List([ConvNorm(making, c_in, width, 1) for c_in in finer])
        self.outputs = nnx.List([ConvNorm(making, width, width, 3) for _ in finer])
        self.fuse = ConvNorm(making, len(channels) * width, width, 3)
        self.classes = conv(making, width, classes, 1, draw=normal(CLASSES_STD))

    def __call__(
        self, maps: Sequence[jax.Array], train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        """Logits; ``keys``, one an image, are needed in training where there is dropout."""
        *finer, coarsest = maps
        seen = [coarsest]
        for side, part in zip(self.pools, self.pooled, strict=True):
            seen.append(resized(part(pooled(coarsest, side), train), _size(coarsest)))
        merged = [part(x, train) for part, x in zip(self.laterals, finer, strict=True)]
        merged.append(self.context(jnp.concatenate(seen, -1), train))
        for i in reversed(range(len(finer))):
            merged[i] += resized(merged[i + 1], _size(merged[i]))
        for i, part in enumerate(self.outputs):
            merged[i] = part(merged[i], train)
        x = jnp.concatenate([resized(x, _size(merged[0])) for x in merged], -1)
        return _logits(self.classes, self.fuse(x, train), self.dropout if train else 0.0, keys)


class AuxiliaryHead(nnx.Module):
    """One map to float32 logits of its size, for a second loss in training.

    Args:
        c_in, width, classes, dropout, making: as `UperHead` has them.
    """

    def __init__(self, c_in: int, width: int, classes: int, dropout: float, making: Making):
        self.dropout = dropout
        self.hidden = ConvNorm(making, c_in, width, 3)
        self.classes = conv(making, width, classes, 1, draw=normal(CLASSES_STD))

    def __call__(
        self, x: jax.Array, train: bool = False, keys: jax.Array | None = None
    ) -> jax.Array:
        """Logits; ``keys`` as in `UperHead`."""
        return _logits(self.classes, self.hidden(x, train), self.dropout if train else 0.0, keys)


def _size(x: jax.Array) -> tuple[int, int]:
    return x.shape[1], x.shape[2]


def _logits(classes: nnx.Conv, x: jax.Array, dropout: float, keys: jax.Array | None) -> jax.Array:
    if dropout:
        assert keys is not None
        x = drop_channels(x, dropout, keys)
    return classes(x).astype(jnp.float32)
