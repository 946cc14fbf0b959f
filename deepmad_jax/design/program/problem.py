"""The search space and the budgets of a design, validated. (The numbers: `evaluate.py`.)

A `Problem` says which architectures may be chosen (stages, blocks, bounds, lattice) and what they
must meet. It holds plain Python values only and is what ``config.design`` becomes.
"""

import dataclasses
import itertools
import math
from typing import Annotated

import numpy as np

from deepmad_jax.arch.layers import extent, out_resolution
from deepmad_jax.arch.rows import Number, pixels_of
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.stages import LAYER_NORM_BLOCKS, Stage, Stem
from deepmad_jax.design.program.checks import (
    check_blocks,
    check_length,
    check_multiple,
    check_not_empty,
    check_ordered,
    check_range,
    check_together,
)
from deepmad_jax.design.program.clips import check_clips, kernels_of_clips
from deepmad_jax.fields import (
    Channels,
    Count,
    FilePath,
    Limit,
    Natural,
    NotNegative,
    OddSize,
    OneOf,
    Pixels,
    Positive,
    Seed,
    settle,
)

BUDGETS = ("macs", "params", "rho")
"""The constraints a user sets, in the order in which they open the constraint vector."""

EXTRAS = ("layers", "activations", "latency", "width_ratio")
"""Limits besides MACs, params and rho: what they measure is in `limits.py`."""
CONVENTIONS = ("paper", "tinynas")

Stride = Annotated[int, OneOf((1, 2))]
# Of two kernels with frames among these, one has always more pixels in all than the other.
KernelFrames = Annotated[int, OneOf((1, 3, 5))]


@dataclasses.dataclass(frozen=True)
class Problem:
    """What to design: the space, the objective's weights and the budgets.

    Attributes:
        block: block kind of every stage.
        blocks: block kind of each stage, in place of ``block``; empty for one kind everywhere.
            Where a stage may be of several, their names with a bar between, as in
            ``convnext|attention``, and the design chooses.
        strides: stride of each stage's first block; its length is the number of stages.
        kernels: odd kernel sizes a stage may take.
        frames: of a clip, where the network is of clips; 0 or 1 of images.
        kernels_t: of clips, frames that a stage's kernels may have, each with any of ``kernels``.
        strides_t: stride in frames of each stage's first block; empty is 1 everywhere.
        stem_kernel_t: frames of the stem's kernel.
        heads: numbers of heads that a stage of attention may have, in place of a kernel.
        head_width: channels of a head.
        patch: pixels a side of the patches that the stem makes tokens of; 0 for a 3x3 conv.
        positions: whether every token has a learned position, added after the stem.
        inner_ratio: least and greatest inner / width; one value fixes the ratio.
        stem_width: least and greatest channels of the stem; one value fixes them.
        stem_stride: 1 or 2, of a 3x3 conv; patches lie side by side.
        min_width, max_width: of each stage; one value for all, or one a stage.
        min_depth, max_depth: blocks in each stage; one value for all, or one a stage.
        multiple_of: of every width and, where the ratio is not fixed, of every inner width.
        final_width: channels of the final 1x1 conv; None for no such conv.
        resolution, in_channels: of the input images, pixels and channels.
        resolution_w: pixels across, where the images are not square; else 0.
        classes: of the classifier.
        macs: greatest number of multiply-accumulates an image, whole network; inf for no limit.
        params: greatest number of trainable parameters; inf for no limit.
        rho: greatest effectiveness, depth over average width; inf for no limit.
        layers: greatest number of main-path convs; inf for no limit, as for the next three.
        activations: greatest number of elements that one conv may read and write for one image.
        latency: greatest number of milliseconds by ``latency_table``.
        throughput: least number of images a second by ``latency_table``, at the batch that it was
            measured with: a ``latency`` of 1000 / throughput. 0 for none.
        width_ratio: greatest factor from a stage's width to the next one's.
        latency_table: path of a CSV file of times (see `limits.read_latency`).
        alpha: weight of each level's entropy; empty is 1 everywhere and 8 on the last.
        beta: weight of the depth penalty; 0 switches guideline 2 off.
        monotone: whether widths may not shrink with depth, guideline 3.
        convention: ``paper``, or ``tinynas`` to count as the authors' released code does.
        seed: of the solver's extra starts and of the integer search.
        alternatives: how many further networks to list, the best that differ from the design and
            from each other in more than one width (see `search.alternatives`).
    """

    block: str = "bottleneck"
    blocks: tuple[str, ...] = ()
    strides: tuple[Stride, ...] = (2, 2, 2, 1, 2)
    kernels: tuple[OddSize, ...] = (3, 5)
    frames: Natural = 0
    kernels_t: tuple[KernelFrames, ...] = (1, 3)
    strides_t: tuple[Stride, ...] = ()
    stem_kernel_t: KernelFrames = 1
    heads: tuple[Count, ...] = (1, 2, 3, 4, 6, 8, 12, 16)
    head_width: Channels = 64
    patch: Natural = 0
    positions: bool = False
    inner_ratio: tuple[Positive, ...] = (0.1, 1.0)
    stem_width: tuple[Channels, ...] = (8, 64)
    stem_stride: Stride = 2
    min_width: tuple[Channels, ...] = (8,)
    max_width: tuple[Channels, ...] = (2048,)
    min_depth: tuple[Count, ...] = (1,)
    max_depth: tuple[Count, ...] = (30,)
    multiple_of: Channels = 8
    final_width: Channels | None = None
    resolution: Pixels = 224
    resolution_w: Natural = 0
    in_channels: Channels = 3
    classes: Channels = 1000
    macs: Limit = math.inf
    params: Limit = math.inf
    rho: Limit = math.inf
    layers: Limit = math.inf
    activations: Limit = math.inf
    latency: Limit = math.inf
    throughput: NotNegative = 0.0
    width_ratio: Limit = math.inf
    latency_table: FilePath = ""
    alpha: tuple[NotNegative, ...] = ()
    beta: NotNegative = 10.0
    monotone: bool = True
    convention: Annotated[str, OneOf(CONVENTIONS)] = "paper"
    seed: Seed = 0
    alternatives: Natural = 0

    def __post_init__(self) -> None:
        settle(self)
        if self.throughput:
            object.__setattr__(self, "latency", min(self.latency, 1e3 / self.throughput))
        check_blocks(self.block, self.blocks, self.num_stages)
        for name in ("kernels", "kernels_t", "heads"):
            check_not_empty(name, getattr(self, name))
        for name in ("inner_ratio", "stem_width"):
            check_range(name, getattr(self, name))
        for kind in ("width", "depth"):
            names = f"min_{kind}", f"max_{kind}"
            for name in names:
                check_length(name, getattr(self, name), self.num_stages)
            check_ordered(names, *(self.per_stage(name) for name in names))
        self._check_lattice()
        check_together(self)
        if self.is_of_clips or self.strides_t or self.stem_kernel_t > 1:
            check_clips(self)

    @property
    def num_stages(self) -> int:
        """Number of stages, S."""
        return len(self.strides)

    @property
    def stage_blocks(self) -> tuple[str, ...]:
        """Block kind of each stage."""
        return self.blocks or (self.block,) * self.num_stages

    @property
    def settlements(self) -> tuple["Problem", ...]:
        """The problem with every choice of kinds, one kind a stage; itself where none is open."""
        if not any("|" in block for block in self.blocks):
            return (self,)
        each = itertools.product(*(block.split("|") for block in self.blocks))
        return tuple(dataclasses.replace(self, blocks=blocks) for blocks in each)

    def settled_as(self, arch: Architecture) -> "Problem":
        """The settlement that has the kinds of one of its networks."""
        kinds = tuple(stage.block for stage in arch.stages)
        return next((p for p in self.settlements if p.stage_blocks == kinds), self)

    @property
    def untimed(self) -> "Problem":
        """The problem without its limit of time and the table behind it."""
        return dataclasses.replace(self, latency=math.inf, throughput=0.0, latency_table="")

    @property
    def is_of_clips(self) -> bool:
        """Whether the network is of clips, with frames to see at a time."""
        return self.frames > 1

    @property
    def choices(self) -> tuple[tuple[int, ...], ...]:
        """For each stage the kernels it may take (of clips, the pixels under them over all of their
        frames, see `clips`), or the numbers of heads, ascending."""
        in_time = kernels_of_clips(self.kernels, self.kernels_t)
        kernels = set(in_time if self.is_of_clips else self.kernels)
        sizes = {True: tuple(sorted(set(self.heads))), False: tuple(sorted(kernels))}
        return tuple(sizes[block == "attention"] for block in self.stage_blocks)

    @property
    def stem(self) -> Stem:
        """The stem at its least width."""
        if self.patch:
            return Stem(self.stem_width[0], self.patch, self.patch, "patch")
        return Stem(self.stem_width[0], 3, self.stem_stride, kernel_t=self.stem_kernel_t)

    @property
    def head_norm(self) -> bool:
        """Whether a LayerNorm stands before the classifier."""
        return self.stage_blocks[-1] in LAYER_NORM_BLOCKS

    @property
    def stage_strides_t(self) -> tuple[int, ...]:
        """Stride in frames of each stage."""
        return self.strides_t or (1,) * self.num_stages

    @property
    def halvings(self) -> tuple[int, ...]:
        """2 for each stage that strides, in pixels or in frames, else 1."""
        return tuple(map(max, zip(self.strides, self.stage_strides_t, strict=True)))

    @property
    def level_ends(self) -> tuple[int, ...]:
        """For each level, how many stages lie before its end; 0 where it is the stem alone."""
        starts = [i for i, stride in enumerate(self.strides) if stride == 2]
        return (*starts, self.num_stages)

    @property
    def level_weights(self) -> tuple[float, ...]:
        """alpha, one weight per level, defaults filled in."""
        return self.alpha or level_weights(len(self.level_ends))

    @property
    def image(self) -> Number:
        """Pixels a side of the images, or an `Oblong`."""
        frames = self.frames if self.is_of_clips else 0
        return pixels_of(self.resolution, self.resolution_w or self.resolution, frames)

    @property
    def resolutions(self) -> tuple[Number, ...]:
        """Pixels a side after the stem and after each stage, S + 1 of them."""
        sizes = [self.image]
        strides = (self.stem.stride, *self.strides), (1, *self.stage_strides_t)
        for stride, stride_t in zip(*strides, strict=True):
            step = extent(stride, stride_t, self.is_of_clips)
            sizes.append(out_resolution(sizes[-1], step))
        return tuple(sizes[1:])

    @property
    def extras(self) -> tuple[str, ...]:
        """The limits that are set besides MACs, params and rho."""
        return tuple(name for name in EXTRAS if math.isfinite(getattr(self, name)))

    @property
    def fixed_ratio(self) -> bool:
        """Whether inner / width is a single value; inner is then derived, not chosen."""
        return self.inner_ratio[0] == self.inner_ratio[-1]

    def per_stage(self, field: str) -> tuple[int, ...]:
        """A bound field (``min_width`` ...) with one entry per stage."""
        values: tuple[int, ...] = getattr(self, field)
        return values if len(values) == self.num_stages else values * self.num_stages

    def architecture(self, name: str, point: "object") -> Architecture:
        """The architecture at an integer point (see `evaluate.Point`)."""
        stem, width, inner, kernel, depth = (
            np.rint(np.asarray(value, dtype=float)).astype(int).tolist()
            for value in point  # type: ignore[attr-defined]
        )
        stages = tuple(
            self._stage(i, width[i], inner[i], kernel[i], depth[i]) for i in range(self.num_stages)
        )
        return Architecture(
            name=name,
            resolution=self.resolution,
            resolution_w=0 if self.resolution_w == self.resolution else self.resolution_w,
            frames=self.frames if self.is_of_clips else 0,
            in_channels=self.in_channels,
            classes=self.classes,
            stem=dataclasses.replace(self.stem, width=stem),
            stages=stages,
            final_width=self.final_width,
            head_norm=self.head_norm,
            positions=self.positions,
        )

    def _stage(self, i: int, width: int, inner: int, choice: int, depth: int) -> Stage:
        block, rest = self.stage_blocks[i], (depth, self.strides[i])
        if block == "attention":
            heads = {"heads": choice, "head_width": self.head_width}
            return Stage(block, width, inner, 1, *rest, **heads)
        if self.is_of_clips:
            kernel, kernel_t = kernels_of_clips(self.kernels, self.kernels_t)[choice]
            in_time = {"kernel_t": kernel_t, "stride_t": self.stage_strides_t[i]}
            return Stage(block, width, inner, kernel, *rest, **in_time)
        return Stage(block, width, inner, choice, *rest)

    def _check_lattice(self) -> None:
        bounds = zip(self.per_stage("min_width"), self.per_stage("max_width"), strict=True)
        check_multiple(self.multiple_of, "stem_width", self.stem_width[0], self.stem_width[-1])
        for low, high in bounds:
            check_multiple(self.multiple_of, "width", low, high)


def level_weights(levels: int) -> tuple[float, ...]:
    """alpha where none is given: 1 for each level, the last 8 (paper, section 4)."""
    return (*[1.0] * (levels - 1), 8.0)
