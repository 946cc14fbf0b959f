"""Block kinds to design from that the paper does not have: its program, carried on.

As `blocks.py`, for ints, arrays over stages and symbols. The sources of the blocks are ConvNeXt
(Liu et al. 2022, arXiv 2201.03545), the fused MBConv of EfficientNetV2 (Tan and Le 2021, arXiv
2104.00298) and the Transformer with LayerNorm first (Dosovitskiy et al. 2020, arXiv 2010.11929),
with the layer scale of Touvron et al. 2021 (arXiv 2103.17239). That their entropy is the sum over
the layers on the main path is ours: in an attention those are values, output and the two of the
MLP; queries and keys weigh tokens and carry no values.
"""

from collections.abc import Callable

from deepmad_jax.arch.blocks import differ, pooled_join, strided
from deepmad_jax.arch.rows import BlockShape, Layer, Number, conv

Counted = list[tuple[Number, Layer]]


def _fused_mbconv(b: BlockShape) -> Counted:
    return [
        *conv("main", b.c_in, b.inner, b.r_in, b.r_out, b.kernel, b.stride, b.groups, act="silu"),
        *conv("main", b.inner, b.width, b.r_out, b.r_out),
        *pooled_join(b, "silu"),
    ]


def _convnext(b: BlockShape) -> Counted:
    c, r = b.width, b.r_out
    depthwise = Layer("conv", "main", c, c, r, r, b.kernel, 1, c, bias=True)
    return [*_merge(b), *_each(depthwise, _norm(c, r), *_mlp(b))]


def _attention(b: BlockShape) -> Counted:
    """``kernel`` is not read; the heads together are ``heads * head_width`` channels."""
    c, r, values = b.width, b.r_out, b.heads * b.head_width
    fork = Layer("fork", "shortcut", c, c, r, r)
    return [
        *_merge(b),
        *_each(
            *(fork, _norm(c, r)),
            # Queries, keys and values by one conv, which counts as the one layer of the values.
            Layer("conv", "main", c, 3 * values, r, r, bias=True, draw="normal"),
            Layer("attention", "main", 3 * values, values, r, r, heads=b.heads),
            Layer("conv", "main", values, c, r, r, bias=True, draw="normal"),
            *_scaled_sum(c, r),
            *(fork, _norm(c, r)),
            *_mlp(b, draw="normal"),
        ),
    ]


FURTHER: dict[str, Callable[[BlockShape], Counted]] = {
    "fused_mbconv": _fused_mbconv,
    "convnext": _convnext,
    "attention": _attention,
}


def _merge(b: BlockShape) -> Counted:
    """Where a stage strides or changes the width: a LayerNorm, then a conv over patches."""
    if not b.first:
        return []
    s, d = strided(b), differ(b)
    count = s + d - s * d
    return [
        (count, Layer("layer_norm", "main", b.c_in, b.c_in, b.r_in, b.r_in)),
        (
            count,
            Layer("conv", "main", b.c_in, b.width, b.r_in, b.r_out, b.stride, b.stride, bias=True),
        ),
        (count, Layer("fork", "shortcut", b.width, b.width, b.r_out, b.r_out)),
    ]


def _mlp(b: BlockShape, draw: str | None = None) -> list[Layer]:
    c, inner, r = b.width, b.inner, b.r_out
    return [
        Layer("conv", "main", c, inner, r, r, bias=True, draw=draw),
        Layer("act", "main", inner, inner, r, r, function="gelu"),
        Layer("conv", "main", inner, c, r, r, bias=True, draw=draw),
        *_scaled_sum(c, r),
    ]


def _scaled_sum(c: Number, r: Number) -> list[Layer]:
    return [Layer("layer_scale", "main", c, c, r, r), Layer("add", "main", c, c, r, r)]


def _norm(c: Number, r: Number) -> Layer:
    return Layer("layer_norm", "main", c, c, r, r)


def _each(*layers: Layer) -> Counted:
    return [(1, layer) for layer in layers]
