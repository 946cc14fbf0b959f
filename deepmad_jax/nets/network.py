"""The network an architecture describes: stem, stages, final conv, classifier.

It is used through plain functions over its state:

    graphdef, params, stats = nnx.split(net, nnx.Param, nnx.BatchStat)

    @jax.jit
    def logits_and_stats(params, stats, images):
        net = nnx.merge(graphdef, params, stats, copy=True)
        logits = net(images, train=True)
        return logits, nnx.state(net, nnx.BatchStat)

``copy=True`` is needed where ``stats`` comes from outside a transformation, as in a loss under
`jax.grad`: Flax refuses to change a Variable made at an outer level. Features, say of a detector's
backbone, come the same way from ``net.features``.

A network knows nothing about losses, optimisers or regularisation.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.arch import Architecture
from deepmad_jax.errors import UserError
from deepmad_jax.nets import adapt
from deepmad_jax.nets.block import Block
from deepmad_jax.nets.build import build
from deepmad_jax.nets.stage import SCAN_BY_BACKEND, Stage
from deepmad_jax.nets.tokens import as_map


@dataclasses.dataclass(frozen=True)
class Feature:
    """One map of `Network.features`: pixels of the image per pixel of the map, and channels."""

    name: str
    stride: int
    channels: int


class Network(nnx.Module):
    """Images ``(batch, H, W, in_channels)`` to float32 logits ``(batch, classes)``; any H and W.

    A network of clips (``arch.frames``) takes ``(batch, frames, H, W, in_channels)``, any of each.

    Parameters and BatchNorm statistics are float32. The running variance is PyTorch's, see
    `batch_norm.py`.

    Attributes:
        arch: what was built.
        feature_info: a `Feature` for each map of `features`: one per level, names ``level1``, ....

    Args:
        arch: any valid architecture.
        rngs: its ``params`` stream gives the initial kernels.
        dtype: of the computation, say `jnp.bfloat16`; the classifier stays in float32.
        batch_norm_momentum: share of the new batch in the running statistics, in (0, 1].
        scan: run the repeated blocks of a stage by `jax.lax.scan`, compiled once, rather than one
            by one. None: by backend. Results and state are the same.
        cpu_convs: compute convs in the forms that XLA compiles well for a CPU (see `cpu_conv.py`),
            to train and evaluate there. Results differ in the last bits; state is the same. Leave
            it for exports, other devices and forward-mode derivatives.
        remat: for the backward pass keep only the maps between stages, and compute the others
            again. Results and state are the same.
        zero_init: start every residual branch at nothing (see `init.py`); read where the
            architecture is of no `family`, these start as their authors' code does.
        drop_path: probability that the last block's branch is skipped for an image, in [0, 1);
            linear in the block's place from 0 at the first (arXiv 1603.09382).
        dropout: probability that an input of the classifier is zeroed, in [0, 1).
    Raises:
        UserError: a momentum out of range; when called, images of another shape.

    >>> from deepmad_jax.arch import Stage, Stem
    >>> arch = Architecture("tiny", 32, 3, 10, Stem(8), (Stage("basic", 12, 8, 3, 2, 2),))
    >>> net = nnx.eval_shape(lambda: Network(arch, rngs=nnx.Rngs(0)))
    >>> net.feature_info[-1]
    Feature(name='level2', stride=4, channels=12)
    """

    def __init__(
        self,
        arch: Architecture,
        *,
        rngs: nnx.Rngs,
        dtype: Any = jnp.float32,
        batch_norm_momentum: float = 0.1,
        scan: bool | None = None,
        cpu_convs: bool = False,
        remat: bool = False,
        zero_init: bool = True,
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ):
        if not 0.0 < batch_norm_momentum <= 1.0:
            raise UserError(
                f"batch_norm_momentum is {batch_norm_momentum}, but it is the share of the new "
                "batch in the running statistics, in (0, 1]: the usual value is 0.1."
            )
        if scan is None:
            scan = SCAN_BY_BACKEND.get(jax.default_backend(), True)
        self.arch = arch
        self.dtype = jnp.dtype(dtype)
        self.remat, self.drop_path, self.dropout = remat, drop_path, dropout
        self.feature_info, self._stage_levels = _levels(arch)

        self.stem, self.stages, self.norms, self.final, self.head = build(
            arch, rngs.params(), self.dtype, batch_norm_momentum, scan, cpu_convs, zero_init
        )

    def __call__(
        self, x: jax.Array, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        """Logits; with ``train`` by the batch's statistics, and the running ones move.

        Stochastic depth and dropout draw from ``key``, which they need where ``train`` is set.
        Without a classifier, the averaged last map, float32 ``(batch, channels)``.
        """
        paths, units = (None, None) if key is None else jax.random.split(key)
        x = self._maps(x, train, paths)[-1]
        if train and self.dropout:
            # The mean over the pixels is linear: whole channels dropped before it are its entries.
            shape = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
            x *= _keep(units, 1.0 - self.dropout, shape, x.dtype)
        out = self.head(x, train)
        return out.reshape(out.shape[0], -1)

    def features(
        self, x: jax.Array, train: bool = False, key: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """The map at the end of each level, in the computation's dtype, finest first.

        A map has ``ceil(H / stride)`` by ``ceil(W / stride)`` pixels; a class token is no part of
        it. Swin with ``stage_norms`` gives them through these. Those of clips have frames.
        """
        maps = self._maps(x, train, key)
        if self.arch.frames:
            return maps
        sizes = [tuple(-(-size // f.stride) for size in x.shape[1:3]) for f in self.feature_info]
        return tuple(as_map(m, *size) for m, size in zip(maps, sizes, strict=True))

    def _maps(
        self, x: jax.Array, train: bool = False, key: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """What each level ends in, class token included."""
        shape = getattr(x, "shape", None)
        what, frames = ("clips", "frames, ") if self.arch.frames else ("images", "")
        axes = 2 + self.arch.axes
        if shape is None or len(shape) != axes or shape[-1] != self.arch.in_channels or 0 in shape:
            given = f"of type {type(x).__name__}" if shape is None else f"an array of shape {shape}"
            raise UserError(
                f"The {what} are {given}, but {self.arch.name} takes an array of shape (batch, "
                f"{frames}height, width, {self.arch.in_channels}), none of them 0: transpose "
                f"{what} that have channels first."
            )
        x = self.stem(x.astype(self.dtype), train)
        maps = {0: x}
        run = nnx.remat(Stage.__call__, static_argnums=(2,)) if self.remat else Stage.__call__
        keeps = self._keep_paths(key, shape[0]) if train and self.drop_path else None
        for i, (level, stage) in enumerate(zip(self._stage_levels, self.stages, strict=True)):
            x = run(stage, x, train, None if keeps is None else keeps[i])
            maps[level] = x[0] if isinstance(x, tuple) else x
            if self.norms is not None:
                maps[level] = self.norms[i](x, train)
        if self.final is not None:
            maps[level] = self.final(x, train)
        return tuple(maps.values())

    def without_classifier(self) -> "Network":
        """The same network less its classifier; the arrays are shared, this one stays as it is."""
        return adapt.without_classifier(self)

    def with_frozen_batch_norm(self, affine_trains: bool = False) -> "Network":
        """The same network, BatchNorm's statistics, scale and bias held fixed in training too.

        Scale and bias are then no longer `nnx.Param`, so an optimiser does not see them; with
        ``affine_trains`` they are, and train.
        """
        return adapt.with_frozen_batch_norm(self, affine_trains)

    def with_folded_batch_norm(self) -> "Network":
        """The same function for inference, each BatchNorm folded into the conv before it."""
        return adapt.with_folded_batch_norm(self)

    def with_merged_kernels(self) -> "Network":
        """The same function for inference, depthwise convs side by side made one."""
        return adapt.with_merged_kernels(self)

    @property
    def blocks(self) -> Iterator[Block]:
        """Stem, every stage's first and repeated blocks, norms, final conv and head, in order.

        A repeated block stands for all of its stage: its arrays have a leading axis over them.
        """
        yield self.stem
        for stage in self.stages:
            yield stage.first
            if stage.rest is not None:
                yield stage.rest
        yield from self.norms or ()
        if self.final is not None:
            yield self.final
        yield self.head

    def _keep_paths(self, key: jax.Array | None, batch: int) -> list[jax.Array]:
        """Of each stage, the factors of its blocks' branches.

        Shape (depth, additions, batch, 1, 1, 1), of clips one 1 more: every addition of a block
        draws for itself, all at the rate of the block.
        """
        plans = [stage.first.plan for stage in self.stages]
        additions = max(1, *(sum(layer.kind == "add" for _, layer in plan) for plan in plans))
        depths = [stage.depth for stage in self.arch.stages]
        rates = np.linspace(0.0, self.drop_path, sum(depths), dtype=np.float32)
        ones = (1,) * (1 + self.arch.axes)
        shares = jnp.asarray(1.0 - rates).reshape(-1, 1, 1, *ones)
        factors = _keep(key, shares, (sum(depths), additions, batch, *ones), self.dtype)
        return jnp.split(factors, np.cumsum(depths)[:-1].tolist())


def _keep(key: jax.Array | None, share: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """``1 / share`` with probability ``share``, else 0: the mean is 1."""
    if key is None:
        raise UserError(
            "A network with drop_path or dropout draws random numbers while it trains: call it "
            "with key=jax.random.key(...)."
        )
    return (jax.random.bernoulli(key, share, shape) / share).astype(dtype)


def _levels(arch: Architecture) -> tuple[tuple[Feature, ...], tuple[int, ...]]:
    """What each level ends in, and the place of every stage's level among them.

    Every stage of stride 2 starts a level; the stem starts the first, a final conv closes the last.
    """
    features = [Feature("level1", arch.stem.reduction, arch.stem.width)]
    stage_levels = []
    for stage in arch.stages:
        stride = features[-1].stride * stage.stride
        if stage.stride == 1:
            features.pop()
        features.append(Feature(f"level{len(features) + 1}", stride, stage.width))
        stage_levels.append(len(features) - 1)
    if arch.final_width is not None:
        features[-1] = dataclasses.replace(features[-1], channels=arch.final_width)
    return tuple(features), tuple(stage_levels)
