"""The one table of layers of an architecture: what every block kind is made of.

A row is ``(repeat, layer)``. The first block of a stage and its repeated blocks are separate rows,
so a relaxed depth enters as ``(depth - 1) * row`` and stays differentiable. The design program, the
network builder, the tables and both counting conventions read these rows; nothing else in the
package knows what a block contains.

Every number in a row may be an int, a float, or an array with one entry per stage (and any leading
batch axes), NumPy or traced JAX: rows are only ever added and multiplied. With arrays, a layer that
exists in some stages only (a projection where widths differ) has repeat 0 in the others; with ints
it is left out.

`Mode` says how the parts that are not smooth are read:
    exact   as built. For integers.
    smooth  differentiable: the squeeze width is inner / 4, a projection that may exist does.
    lower   never above the exact cost of any integer network in reach: for bounds.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from deepmad_jax.arch.spec import Architecture

Mode = Literal["exact", "smooth", "lower"]
Number = Any  # int, float, numpy array or JAX tracer: see the module's docstring


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One layer. Channels count, resolutions in pixels a side.

    Attributes:
        kind: conv, norm, act, pool (2x2 average, stride 2, ceil mode), mean (global average),
            scale (multiply by the squeeze gate), add (join the shortcut) or dense.
        branch: main, shortcut, se or head. Main-path convs are the ``conv`` rows of ``main``.
        function: relu, silu or sigmoid for an ``act``; None otherwise.
    """

    kind: str
    branch: str
    c_in: Number
    c_out: Number
    r_in: Number
    r_out: Number
    kernel: Number = 1
    stride: Number = 1
    groups: Number = 1
    function: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """``repeat`` copies of a layer. ``section`` names where: stem, first, rest, final, head."""

    section: str
    repeat: Number
    layer: Layer


@dataclasses.dataclass(frozen=True, slots=True)
class BlockShape:
    """What a block is told: the numbers of its stage, and whether it opens the stage."""

    c_in: Number
    width: Number
    inner: Number
    kernel: Number
    stride: Number
    groups: Number
    r_in: Number
    r_out: Number
    first: bool
    mode: Mode


def layer_table(arch: Architecture) -> list[Row]:
    """Every layer of an architecture in order, as rows of plain ints.

    Sections are ``stem``, ``stage1.first``, ``stage1.rest``, ..., ``final``, ``head``; rows of a
    stage's repeated blocks have ``repeat = depth - 1`` and are absent where depth is 1.
    """
    resolution = out_resolution(arch.resolution, arch.stem.stride)
    rows = stem_rows(
        arch.in_channels,
        arch.stem.width,
        arch.stem.kernel,
        arch.stem.stride,
        arch.resolution,
        resolution,
    )
    c_in = arch.stem.width
    for i, stage in enumerate(arch.stages, 1):
        r_in, resolution = resolution, out_resolution(resolution, stage.stride)
        stage_table = stage_rows(
            stage.block,
            c_in=c_in,
            width=stage.width,
            inner=stage.inner,
            kernel=stage.kernel,
            depth=stage.depth,
            stride=stage.stride,
            groups=stage.groups,
            r_in=r_in,
            r_out=resolution,
        )
        rows += [
            Row(f"stage{i}.{row.section}", row.repeat, row.layer)
            for row in stage_table
            if row.repeat
        ]
        c_in = stage.width
    return rows + head_rows(c_in, arch.final_width, arch.classes, resolution)


def out_resolution(resolution: Number, stride: Number) -> Number:
    """Output pixels a side of a conv or a ceil-mode pool: ``ceil(resolution / stride)``."""
    return -(-resolution // stride)


def stem_rows(
    in_channels: int, width: Number, kernel: int, stride: int, r_in: Number, r_out: Number
) -> list[Row]:
    """The stem: conv, BatchNorm, ReLU."""
    layers = _conv("main", in_channels, width, r_in, r_out, kernel, stride, act="relu")
    return [Row("stem", 1, layer) for _, layer in layers]


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
) -> list[Row]:
    """The rows of one stage, or of all stages at once where the numbers are arrays over stages."""
    build = BLOCK_LAYERS[block]
    first = build(BlockShape(c_in, width, inner, kernel, stride, groups, r_in, r_out, True, mode))
    rest = build(BlockShape(width, width, inner, kernel, 1, groups, r_out, r_out, False, mode))
    return [Row("first", count, layer) for count, layer in first] + [
        Row("rest", count * (depth - 1), layer) for count, layer in rest
    ]


def head_rows(c_in: Number, final_width: int | None, classes: int, resolution: Number) -> list[Row]:
    """The optional final 1x1 conv, global average pooling and the classifier."""
    rows = []
    if final_width is not None:
        layers = _conv("main", c_in, final_width, resolution, resolution, act="relu")
        rows = [Row("final", 1, layer) for _, layer in layers]
        c_in = final_width
    rows.append(Row("head", 1, Layer("mean", "head", c_in, c_in, resolution, 1)))
    rows.append(Row("head", 1, Layer("dense", "head", c_in, classes, 1, 1)))
    return rows


def se_width(inner: Number, mode: Mode = "exact") -> Number:
    """Squeeze width: a quarter of the expanded width, rounded half to even, then down to eights.

    ``lower`` is below it for every integer ``inner``: rounding loses at most 1/2 and the floor less
    than 8, in steps that leave ``inner / 4 - 7.5``; 8 is the least it can be.
    """
    if mode == "smooth":
        return inner * 0.25
    if mode == "lower":
        return _maximum(inner * 0.25 - 7.5, 8.0)
    if isinstance(inner, int):
        return max(1, round(inner * 0.25) // 8) * 8
    return ((inner * 0.25).round() // 8).clip(1) * 8  # array methods: NumPy or JAX


# --- blocks: lists of (count, layer), count 0 or 1 ------------------------------------------------


def _bottleneck(b: BlockShape) -> list[tuple[Number, Layer]]:
    return [
        *_conv("main", b.c_in, b.inner, b.r_in, b.r_in, act="relu"),
        *_conv("main", b.inner, b.inner, b.r_in, b.r_out, b.kernel, b.stride, b.groups, act="relu"),
        *_conv("main", b.inner, b.width, b.r_out, b.r_out),
        *_shortcut(b, projection=1 if b.first else 0),
        *_join(b, "relu"),
    ]


def _basic(b: BlockShape) -> list[tuple[Number, Layer]]:
    return [
        *_conv("main", b.c_in, b.inner, b.r_in, b.r_in, b.kernel, 1, b.groups, act="relu"),
        *_conv("main", b.inner, b.width, b.r_in, b.r_out, b.kernel, b.stride, b.groups),
        *_shortcut(b, projection=_differ(b)),
        *_join(b, "relu"),
    ]


def _k1kx(b: BlockShape) -> list[tuple[Number, Layer]]:
    return [
        *_conv("main", b.c_in, b.inner, b.r_in, b.r_in, act="relu"),
        *_conv("main", b.inner, b.width, b.r_in, b.r_out, b.kernel, b.stride, b.groups),
        *_shortcut(b, projection=_differ(b)),
        *_join(b, "relu"),
    ]


def _mbconv(b: BlockShape, squeeze: bool = False) -> list[tuple[Number, Layer]]:
    joins = 1 - _differ(b)
    # As released: SiLU came with the squeeze, without it ReLU stayed (tests/fixtures/mbconv_a.npz).
    act = "silu" if squeeze else "relu"
    return [
        *_conv("main", b.c_in, b.inner, b.r_in, b.r_in, act=act),
        *_conv("main", b.inner, b.inner, b.r_in, b.r_out, b.kernel, b.stride, b.inner, act=act),
        *(_squeeze(b) if squeeze else ()),
        *_conv("main", b.inner, b.width, b.r_out, b.r_out),
        (joins * _strided(b), Layer("pool", "shortcut", b.c_in, b.c_in, b.r_in, b.r_out, 2, 2)),
        *_join(b, act, joins),
    ]


def _mbconv_se(b: BlockShape) -> list[tuple[Number, Layer]]:
    return _mbconv(b, squeeze=True)


BLOCK_LAYERS: dict[str, Callable[[BlockShape], list[tuple[Number, Layer]]]] = {
    "basic": _basic,
    "k1kx": _k1kx,
    "bottleneck": _bottleneck,
    "mbconv": _mbconv,
    "mbconv_se": _mbconv_se,
}


def _conv(
    branch: str,
    c_in: Number,
    c_out: Number,
    r_in: Number,
    r_out: Number,
    kernel: Number = 1,
    stride: Number = 1,
    groups: Number = 1,
    act: str | None = None,
    count: Number = 1,
) -> list[tuple[Number, Layer]]:
    """Conv without bias, BatchNorm and, where named, an activation."""
    layers = [
        Layer("conv", branch, c_in, c_out, r_in, r_out, kernel, stride, groups),
        Layer("norm", branch, c_out, c_out, r_out, r_out),
    ]
    if act:
        layers.append(Layer("act", branch, c_out, c_out, r_out, r_out, function=act))
    return [(count, layer) for layer in layers]


def _shortcut(b: BlockShape, projection: Number) -> list[tuple[Number, Layer]]:
    """2x2 average pool where the block strides, then a projection where ``projection`` is 1."""
    pool = Layer("pool", "shortcut", b.c_in, b.c_in, b.r_in, b.r_out, 2, 2)
    return [
        (_strided(b), pool),
        *_conv("shortcut", b.c_in, b.width, b.r_out, b.r_out, count=projection),
    ]


def _squeeze(b: BlockShape) -> list[tuple[Number, Layer]]:
    squeezed = se_width(b.inner, b.mode)
    return [
        (1, Layer("mean", "se", b.inner, b.inner, b.r_out, 1)),
        *_conv("se", b.inner, squeezed, 1, 1, act="silu"),
        *_conv("se", squeezed, b.inner, 1, 1, act="sigmoid"),
        (1, Layer("scale", "se", b.inner, b.inner, b.r_out, b.r_out)),
    ]


def _join(b: BlockShape, act: str, joins: Number = 1) -> list[tuple[Number, Layer]]:
    return [
        (joins, Layer("add", "main", b.width, b.width, b.r_out, b.r_out)),
        (1, Layer("act", "main", b.width, b.width, b.r_out, b.r_out, function=act)),
    ]


def _differ(b: BlockShape) -> Number:
    """1 where the block changes the width, read by mode where it is not an integer."""
    if not b.first or b.mode == "lower":
        return 0
    if b.mode == "smooth":
        return 1
    return _count(b.c_in != b.width)


def _strided(b: BlockShape) -> Number:
    return _count(b.stride == 2)


def _count(condition: Any) -> Number:
    return int(condition) if isinstance(condition, bool) else condition * 1


def _maximum(x: Number, floor: float) -> Number:
    # (x + |x - floor| + floor) / 2 needs no array namespace, and is exact enough for a bound.
    return 0.5 * (x + floor + abs(x - floor))
