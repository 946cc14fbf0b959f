"""An architecture part by part, with the costs of each, as tables and pictures show it.

All numbers come from the layer table of `arch`; nothing is counted here.
"""

import dataclasses
import re

from deepmad_jax.arch import Architecture, Row, cost, layer_table
from deepmad_jax.arch.layers import out_resolution
from deepmad_jax.arch.rows import Number, pixels_of, sides_of
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
        depth: blocks; None where there are no blocks.
        resolution_px: of its output, a side, or an `Oblong`.
    """

    name: str
    kind: str
    level: int | None
    kernel: int | None
    stride: int | None
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
    """A map's size in a table: its side, or height x width."""
    height, width = sides_of(pixels)
    return f"{height:,}" if width == height else f"{height:,}x{width:,}"


def sections(arch: Architecture) -> list[Section]:
    """Stem, stages, final conv and classifier with their costs, in order."""
    by_name: dict[str, list[Row]] = {}
    for row in layer_table(arch):
        # The norm on a stage's output is of that stage.
        part = re.sub(r"^norm", "stage", row.section.split(".")[0])
        by_name.setdefault(part, []).append(row)

    def costs(name: str) -> tuple[int, int]:
        return cost.params(by_name[name]), cost.macs(by_name[name])

    stem = arch.stem
    resolution_px = out_resolution(pixels_of(*arch.size_px), stem.reduction)
    found = [
        Section(
            "stem", STEMS[stem.kind], 0, stem.kernel, stem.stride, stem.width, None, None,
            resolution_px, *costs("stem"),
        )
    ]  # fmt: skip
    level = 0
    for i, stage in enumerate(arch.stages, 1):
        resolution_px = out_resolution(resolution_px, stage.stride)
        level += stage.stride == 2
        kind = stage.block if stage.groups == 1 else f"{stage.block} g{stage.groups}"
        kernel: int | None = stage.kernel
        if stage.block == "attention":
            kind, kernel = f"attention {stage.heads}x{stage.head_width}", None
        found.append(
            Section(
                f"stage {i}", kind, level, kernel, stage.stride, stage.width, stage.inner,
                stage.depth, resolution_px, *costs(f"stage{i}"),
            )
        )  # fmt: skip
    if arch.final_width is not None:
        found.append(
            Section(
                "final 1x1", "conv", level, 1, 1, arch.final_width, None, None, resolution_px,
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
        f"{kind} (not in the paper)" if kind in FURTHER_BLOCKS else kind
        for kind in dict.fromkeys(stage.block for stage in arch.stages)
    )
    return (
        f"{' x '.join(map(str, arch.size_px))} x {arch.in_channels} input, {kinds} blocks, "
        f"{arch.classes:,} classes"
    )
