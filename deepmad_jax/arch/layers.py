"""The one table of layers of an architecture: what every block kind is made of.

A row is ``(repeat, layer)``. The first block of a stage and its repeated blocks are separate rows,
so a relaxed depth enters as ``(depth - 1) * row`` and stays differentiable. The design program, the
network builder, the tables and both counting conventions read these rows; nothing else in the
package knows what a block contains. What a row holds is said in `rows.py`, what a block in
`blocks.py`, `further_blocks.py`, `baseline_blocks.py`, `token_blocks.py` and
`large_kernel_blocks.py`.
"""

import itertools
from collections.abc import Callable

from deepmad_jax.arch.baseline_blocks import BASELINES
from deepmad_jax.arch.blocks import DESIGNED, se_width
from deepmad_jax.arch.compared_ends import compared_head, compared_stem
from deepmad_jax.arch.further_blocks import FURTHER
from deepmad_jax.arch.large_kernel_blocks import LARGE_KERNEL_BLOCKS, merged
from deepmad_jax.arch.rows import BlockShape, Layer, Mode, Number, Row, conv, pixels_of
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.token_blocks import TOKEN_BLOCKS

__all__ = [
    "Layer",
    "Mode",
    "Number",
    "Row",
    "extent",
    "head_rows",
    "layer_table",
    "out_resolution",
    "se_width",
    "stage_rows",
    "stem_rows",
]


def layer_table(arch: Architecture) -> list[Row]:
    """Every layer of an architecture in order, as rows of plain ints.

    Sections are ``stem``, ``stage1.first``, ``stage1.rest``, ..., ``final``, ``head``; rows of a
    stage's repeated blocks have ``repeat = depth - 1`` and are absent where depth is 1.
    """
    image, frames = arch.image, arch.frames
    conv_resolution = out_resolution(image, extent(arch.stem.stride, 1, frames))
    family = arch.family
    if family is None or arch.stem.kind == "patch":
        rows = stem_rows(
            arch.in_channels,
            arch.stem.width,
            extent(arch.stem.kernel, arch.stem.kernel_t, frames),
            extent(arch.stem.stride, 1, frames),
            image,
            conv_resolution,
            arch.stem.kind,
            arch.activation,
            None if family is None else family.draw,
            positions=arch.positions,
        )
    else:
        rows = [Row("stem", 1, layer) for layer in compared_stem(arch)]
    resolution = out_resolution(image, extent(arch.stem.reduction, 1, frames))
    c_in = arch.stem.width
    for i, stage in enumerate(arch.stages, 1):
        stride = extent(stage.stride, stage.stride_t, frames)
        r_in, resolution = resolution, out_resolution(resolution, stride)
        stage_table = stage_rows(
            stage.block,
            c_in=c_in,
            width=stage.width,
            inner=stage.inner,
            kernel=extent(stage.kernel, stage.kernel_t, frames),
            depth=stage.depth,
            stride=stride,
            groups=stage.groups,
            r_in=r_in,
            r_out=resolution,
            activation=arch.activation,
            heads=stage.heads,
            words=stage.words,
            head_width=stage.head_width,
            backbone=arch.stage_norms,
        )
        if arch.merged:
            stage_table = _merged(stage_table)
        rows += [
            Row(f"stage{i}.{row.section}", row.repeat, row.layer)
            for row in stage_table
            if row.repeat
        ]
        c_in = stage.width
        if arch.stage_norms:
            norm = Layer("layer_norm", "main", c_in, c_in, resolution, resolution, epsilon=1e-5)
            rows.append(Row(f"norm{i}", 1, norm))
    if family is not None:
        head = compared_head(arch, c_in, resolution)
        return rows + [Row("head", 1, layer) for layer in head]
    return rows + head_rows(
        c_in, arch.final_width, arch.classes, resolution, arch.activation, arch.head_norm
    )


def extent(side: int, along: int, frames: int) -> Number:
    """A kernel or a stride: of clips so many pixels a side and frames, of images the side."""
    return pixels_of(side, side, along if frames else 0)


def out_resolution(resolution: Number, stride: Number) -> Number:
    """Output pixels a side of a conv or a ceil-mode pool: ``ceil(resolution / stride)``."""
    return -(-resolution // stride)


def stem_rows(
    in_channels: int,
    width: Number,
    kernel: Number,
    stride: Number,
    r_in: Number,
    r_out: Number,
    kind: str = "conv",
    activation: str = "relu",
    draw: str | None = None,
    positions: bool = False,
) -> list[Row]:
    """The stem, see `stages.Stem`; ``r_out`` pixels a side leave its conv."""
    if kind == "patch":
        layers = [
            Layer(
                *("conv", "main", in_channels, width, r_in, r_out, kernel, stride),
                bias=True,
                draw=draw,
            ),
            Layer("layer_norm", "main", width, width, r_out, r_out),
        ]
    else:
        convs = conv("main", in_channels, width, r_in, r_out, kernel, stride, act=activation)
        layers = [layer for _, layer in convs]
    if kind == "max_pool":
        pooled = out_resolution(r_out, 2)
        layers.append(Layer("max_pool", "main", width, width, r_out, pooled, 3, 2))
        r_out = pooled
    if positions:
        layers.append(Layer("position", "main", width, width, r_out, r_out, function="bicubic"))
    return [Row("stem", 1, layer) for layer in layers]


def stage_rows(
    block: str,
    *,
    c_in: Number,
    width: Number,
    inner: Number,
    kernel: Number,
    depth: Number,
    stride: Number,
    groups: Number,
    r_in: Number,
    r_out: Number,
    mode: Mode = "exact",
    activation: str = "relu",
    heads: Number = 1,
    words: int = 0,
    head_width: Number = 0,
    backbone: bool = False,
) -> list[Row]:
    """The rows of one stage, or of all stages at once where the numbers are arrays over stages.

    The kinds that no design is made of take ints only, and know no mode but ``exact``.
    """
    build = BLOCK_LAYERS[block]
    told = (mode, activation, heads, words, head_width, backbone)
    first = build(BlockShape(c_in, width, inner, kernel, stride, groups, r_in, r_out, True, *told))
    rest = build(BlockShape(width, width, inner, kernel, 1, groups, r_out, r_out, False, *told))
    return [Row("first", count, layer) for count, layer in first] + [
        Row("rest", count * (depth - 1), layer) for count, layer in rest
    ]


def _merged(rows: list[Row]) -> list[Row]:
    """A stage of which convs side by side are one."""
    return [
        Row(section, repeat, layer)
        for (section, repeat), group in itertools.groupby(rows, lambda r: (r.section, r.repeat))
        for layer in merged([row.layer for row in group])
    ]


def head_rows(
    c_in: Number,
    final_width: int | None,
    classes: int,
    resolution: Number,
    activation: str = "relu",
    norm: bool = False,
) -> list[Row]:
    """The optional final 1x1 conv, global average pooling and the classifier."""
    rows = []
    if final_width is not None:
        layers = conv("main", c_in, final_width, resolution, resolution, act=activation)
        rows = [Row("final", 1, layer) for _, layer in layers]
        c_in = final_width
    rows.append(Row("head", 1, Layer("mean", "head", c_in, c_in, resolution, 1)))
    if norm:
        rows.append(Row("head", 1, Layer("layer_norm", "head", c_in, c_in, 1, 1)))
    rows.append(Row("head", 1, Layer("dense", "head", c_in, classes, 1, 1)))
    return rows


def _counted(
    block: Callable[[BlockShape], list[Layer]],
) -> Callable[[BlockShape], list[tuple[Number, Layer]]]:
    return lambda shape: [(1, layer) for layer in block(shape)]


BLOCK_LAYERS = (
    DESIGNED
    | FURTHER
    | BASELINES
    | {kind: _counted(block) for kind, block in (TOKEN_BLOCKS | LARGE_KERNEL_BLOCKS).items()}
)
"""Block kind -> its layers, for every kind of `spec`."""
