"""An architecture part by part, with the costs of each, as tables and pictures show it.

All numbers come from the layer table of `arch`; nothing is counted here.
"""

import dataclasses
import re

from deepmad_jax.arch import Architecture, Row, cost, layer_table
from deepmad_jax.arch.layers import extent, out_resolution
from deepmad_jax.arch.rows import Number, along_axes, sides_of
from deepmad_jax.arch.stages import FURTHER_BLOCKS

STEMS = {
    "conv": "conv",
    "max_pool": "conv, max pool",
    **dict.fromkeys(("patch", "patches", "class_token"), "patches"),
    **dict.fromkeys(("t2t", "t2t_performer"), "soft splits"),
    "tnt": "words",
    "large_kernel": "convs",
}
"""Stem kind -> its words for a reader."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the network as tables and pictures show it.

    Attributes:
        name: stem, stage 1, ..., final 1x1 or classifier.
        kind: conv, dense, the stem's kind or the block's name, with its groups where there are
            several, or its heads and their width.
        level: index of its level from 0, None for the classifier.
        kernel, stride: a side, or an `Oblong` where maps have frames.
        depth: blocks; None where there are no blocks.
        resolution_px: of its output, a side, or an `Oblong`.
    """

    name: str
    kind: str
    level: int | None
    kernel: Number | None
    stride: Number | None
    width: int
    inner: int | None
    depth: int | None
    resolution_px: Number
    params: int
    macs: int

    @property
    def height_px(self) -> int:
        """Of its output."""
        return int(sides_of(self.resolution_px)[0])


def px_of(pixels: Number) -> str:
    """A size in a table: a side, height x width or, of clips, frames x height x width."""
    sizes = along_axes(pixels)
    is_square = len(sizes) == 2 and sizes[0] == sizes[1]
    return "x".join(f"{size:,}" for size in (sizes[:1] if is_square else sizes))


def sections(arch: Architecture) -> list[Section]:
    """Stem, stages, final conv and classifier with their costs, in order."""
    by_name: dict[str, list[Row]] = {}
    for row in layer_table(arch):
        # The norm on a stage's output is of that stage.
        part = re.sub(r"^norm", "stage", row.section.split(".")[0])
        by_name.setdefault(part, []).append(row)

    def costs(name: str) -> tuple[int, int]:
        return cost.params(by_name[name]), cost.macs(by_name[name])

    stem, frames = arch.stem, arch.frames
    kernel, one = extent(stem.kernel, stem.kernel_t, frames), extent(1, 1, frames)
    resolution_px = out_resolution(arch.image, extent(stem.reduction, 1, frames))
    found = [
        Section(
            "stem", STEMS[stem.kind], 0, kernel, extent(stem.stride, 1, frames), stem.width, None,
            None, resolution_px, *costs("stem"),
        )
    ]  # fmt: skip
    level = 0
    for i, stage in enumerate(arch.stages, 1):
        stride = extent(stage.stride, stage.stride_t, frames)
        resolution_px = out_resolution(resolution_px, stride)
        level += stage.stride == 2
        kind = stage.block if stage.groups == 1 else f"{stage.block} g{stage.groups}"
        kernel = extent(stage.kernel, stage.kernel_t, frames)
        if stage.block == "attention":
            kind, kernel = f"attention {stage.heads}x{stage.head_width}", None
        found.append(
            Section(
                f"stage {i}", kind, level, kernel, stride, stage.width, stage.inner,
                stage.depth, resolution_px, *costs(f"stage{i}"),
            )
        )  # fmt: skip
    if arch.final_width is not None:
        found.append(
            Section(
                "final 1x1", "conv", level, one, one, arch.final_width, None, None, resolution_px,
                *costs("final"),
            )
        )  # fmt: skip
    found.append(
        Section(
            "classifier", "dense", None, None, None, arch.classes, None, None, 1, *costs("head")
        )
    )
    return found


def level_resolutions(arch: Architecture) -> list[str]:
    """Output pixels of every level, in order, see `px_of`."""
    ends = {s.level: px_of(s.resolution_px) for s in sections(arch) if s.level is not None}
    return list(ends.values())


def describe(arch: Architecture) -> str:
    """One line: the input, the blocks and the classes."""
    kinds = ", ".join(
        f"{kind} (not in the paper)" if arch.frames or kind in FURTHER_BLOCKS else kind
        for kind in dict.fromkeys(stage.block for stage in arch.stages)
    )
    sizes = " x ".join(map(str, (*along_axes(arch.image), arch.in_channels)))
    return f"{sizes} input, {kinds} blocks, {arch.classes:,} classes"
