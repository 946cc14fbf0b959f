"""The block kinds of other published networks: ResNet, MobileNetV2, EfficientNet.

As `blocks.py`, but for ints only: nothing is designed from them. Sources: ResNet (He et al. 2015,
arXiv 1512.03385; the stride on the kxk conv of a bottleneck, as torchvision has it), MobileNetV2
(Sandler et al. 2018, arXiv 1801.04381), EfficientNet (Tan and Le 2019, arXiv 1905.11946).
"""

from collections.abc import Callable

from deepmad_jax.arch.rows import BlockShape, Layer, Number, conv


def _res_basic(b: BlockShape) -> list[tuple[Number, Layer]]:
    return [*_two_convs(b), *_projection(b), *_add(b, act=True)]


def _res_basic_pad(b: BlockShape) -> list[tuple[Number, Layer]]:
    pad = (1, Layer("pad", "shortcut", b.c_in, b.width, b.r_in, b.r_out, 1, b.stride))
    return [*_two_convs(b), *([pad] if _changes_shape(b) else ()), *_add(b, act=True)]


def _two_convs(b: BlockShape) -> list[tuple[Number, Layer]]:
    inner, act = b.inner, b.activation
    return [
        *conv("main", b.c_in, inner, b.r_in, b.r_out, b.kernel, b.stride, b.groups, act=act),
        *conv("main", inner, b.width, b.r_out, b.r_out, b.kernel, 1, b.groups),
    ]


def _res_bottleneck(b: BlockShape) -> list[tuple[Number, Layer]]:
    inner, act = b.inner, b.activation
    return [
        *conv("main", b.c_in, inner, b.r_in, b.r_in, act=act),
        *conv("main", inner, inner, b.r_in, b.r_out, b.kernel, b.stride, b.groups, act=act),
        *conv("main", inner, b.width, b.r_out, b.r_out),
        *_projection(b),
        *_add(b, act=True),
    ]


def _inverted(b: BlockShape, squeeze: bool = False) -> list[tuple[Number, Layer]]:
    act = b.activation
    # The stage's expansion factor, applied to this block's own input (see `stages.Stage.inner`).
    inner = b.c_in * b.inner // b.width
    expand = conv("main", b.c_in, inner, b.r_in, b.r_in, act=act)
    return [
        *(expand if inner != b.c_in else ()),
        *conv("main", inner, inner, b.r_in, b.r_out, b.kernel, b.stride, inner, act=act),
        *(_squeeze(inner, max(b.c_in // 4, 1), b.r_out, act) if squeeze else ()),
        *conv("main", inner, b.width, b.r_out, b.r_out),
        *(_add(b, act=False) if not _changes_shape(b) else ()),
    ]


def _inverted_se(b: BlockShape) -> list[tuple[Number, Layer]]:
    return _inverted(b, squeeze=True)


def _squeeze(inner: int, squeezed: int, r: int, act: str) -> list[tuple[Number, Layer]]:
    """EfficientNet's gate: convs with bias, no BatchNorm."""
    layers = [
        Layer("mean", "se", inner, inner, r, 1),
        Layer("conv", "se", inner, squeezed, 1, 1, bias=True),
        Layer("act", "se", squeezed, squeezed, 1, 1, function=act),
        Layer("conv", "se", squeezed, inner, 1, 1, bias=True),
        Layer("act", "se", inner, inner, 1, 1, function="sigmoid"),
        Layer("scale", "se", inner, inner, r, r),
    ]
    return [(1, layer) for layer in layers]


BASELINES: dict[str, Callable[[BlockShape], list[tuple[Number, Layer]]]] = {
    "res_basic": _res_basic,
    "res_basic_pad": _res_basic_pad,
    "res_bottleneck": _res_bottleneck,
    "inverted": _inverted,
    "inverted_se": _inverted_se,
}


def _changes_shape(b: BlockShape) -> bool:
    return bool(b.stride != 1 or b.c_in != b.width)


def _projection(b: BlockShape) -> list[tuple[Number, Layer]]:
    """The shortcut's strided 1x1 conv, where the block changes the shape."""
    project = conv("shortcut", b.c_in, b.width, b.r_in, b.r_out, 1, b.stride)
    return project if _changes_shape(b) else []


def _add(b: BlockShape, act: bool) -> list[tuple[Number, Layer]]:
    act_layer = Layer("act", "main", b.width, b.width, b.r_out, b.r_out, function=b.activation)
    layers = [Layer("add", "main", b.width, b.width, b.r_out, b.r_out), act_layer]
    return [(1, layer) for layer in (layers if act else layers[:1])]
