"""The block kinds the paper designs from, as the authors' released code builds them.

Each function gives the layers of one block as ``(count, layer)``, count 0 or 1. They read ints,
arrays over stages, and symbols (see `rows.py`). Further kinds to design from: `further_blocks.py`;
those of other networks: `baseline_blocks.py`.
"""

from collections.abc import Callable
from typing import Any

from deepmad_jax.arch.rows import BlockShape, Layer, Mode, Number, Oblong, conv


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


def _bottleneck(b: BlockShape) -> list[tuple[Number, Layer]]:
    return [
        *conv("main", b.c_in, b.inner, b.r_in, b.r_in, act="relu"),
        *conv("main", b.inner, b.inner, b.r_in, b.r_out, b.kernel, b.stride, b.groups, act="relu"),
        *conv("main", b.inner, b.width, b.r_out, b.r_out),
        *_shortcut(b, projection=1 if b.first else 0),
        *_join(b, "relu"),
    ]


def _basic(b: BlockShape) -> list[tuple[Number, Layer]]:
    return [
        *conv("main", b.c_in, b.inner, b.r_in, b.r_in, b.kernel, 1, b.groups, act="relu"),
        *conv("main", b.inner, b.width, b.r_in, b.r_out, b.kernel, b.stride, b.groups),
        *_shortcut(b, projection=differ(b)),
        *_join(b, "relu"),
    ]


def _k1kx(b: BlockShape) -> list[tuple[Number, Layer]]:
    return [
        *conv("main", b.c_in, b.inner, b.r_in, b.r_in, act="relu"),
        *conv("main", b.inner, b.width, b.r_in, b.r_out, b.kernel, b.stride, b.groups),
        *_shortcut(b, projection=differ(b)),
        *_join(b, "relu"),
    ]


def _mbconv(b: BlockShape, squeeze: bool = False) -> list[tuple[Number, Layer]]:
    # As released: SiLU came with the squeeze, without it ReLU stayed (tests/fixtures/mbconv_a.npz).
    act = "silu" if squeeze else "relu"
    return [
        *conv("main", b.c_in, b.inner, b.r_in, b.r_in, act=act),
        *conv("main", b.inner, b.inner, b.r_in, b.r_out, b.kernel, b.stride, b.inner, act=act),
        *(_squeeze(b) if squeeze else ()),
        *conv("main", b.inner, b.width, b.r_out, b.r_out),
        *pooled_join(b, act),
    ]


def _mbconv_se(b: BlockShape) -> list[tuple[Number, Layer]]:
    return _mbconv(b, squeeze=True)


DESIGNED: dict[str, Callable[[BlockShape], list[tuple[Number, Layer]]]] = {
    "basic": _basic,
    "k1kx": _k1kx,
    "bottleneck": _bottleneck,
    "mbconv": _mbconv,
    "mbconv_se": _mbconv_se,
}


def _shortcut(b: BlockShape, projection: Number) -> list[tuple[Number, Layer]]:
    """Average pool where the block strides, then a projection where ``projection`` is 1."""
    return [
        (strided(b), _pool(b)),
        *conv("shortcut", b.c_in, b.width, b.r_out, b.r_out, count=projection),
    ]


def _squeeze(b: BlockShape) -> list[tuple[Number, Layer]]:
    squeezed = se_width(b.inner, b.mode)
    return [
        (1, Layer("mean", "se", b.inner, b.inner, b.r_out, 1)),
        *conv("se", b.inner, squeezed, 1, 1, act="silu"),
        *conv("se", squeezed, b.inner, 1, 1, act="sigmoid"),
        (1, Layer("scale", "se", b.inner, b.inner, b.r_out, b.r_out)),
    ]


def pooled_join(b: BlockShape, act: str) -> list[tuple[Number, Layer]]:
    """The inverted bottlenecks' end: a shortcut, pooled, where the widths are equal."""
    joins = 1 - differ(b)
    return [(joins * strided(b), _pool(b)), *_join(b, act, joins)]


def _pool(b: BlockShape) -> Layer:
    # Of clips it may be over pixels, over frames or over both.
    window = b.stride if isinstance(b.stride, Oblong) else 2
    return Layer("pool", "shortcut", b.c_in, b.c_in, b.r_in, b.r_out, window, window)


def _join(b: BlockShape, act: str, joins: Number = 1) -> list[tuple[Number, Layer]]:
    return [
        (joins, Layer("add", "main", b.width, b.width, b.r_out, b.r_out)),
        (1, Layer("act", "main", b.width, b.width, b.r_out, b.r_out, function=act)),
    ]


def differ(b: BlockShape) -> Number:
    """1 where the block changes the width, read by mode where it is not an integer."""
    if not b.first or b.mode == "lower":
        return 0
    if b.mode == "smooth":
        return 1
    return count(b.c_in != b.width)


def strided(b: BlockShape) -> Number:
    """1 where the block halves the map, in pixels or in frames."""
    return count(b.stride**2 > 1)


def count(condition: Any) -> Number:
    return int(condition) if isinstance(condition, bool) else condition * 1


def _maximum(x: Number, floor: float) -> Number:
    # (x + |x - floor| + floor) / 2 needs no array namespace, and is exact enough for a bound.
    return 0.5 * (x + floor + abs(x - floor))
