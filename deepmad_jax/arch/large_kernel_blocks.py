"""The block kinds of SLaK and RepLKNet: depthwise convs of up to 51 pixels, several side by side.

Convs side by side start from a ``fork``, have a BatchNorm each, and ``join`` the main branch, on
which the largest stands: the one that depth, width, entropy and rho count (ours; neither paper has
them). `merged` makes one conv of them.

Sources: SLaK (Liu et al. 2022, arXiv 2207.03620), a ConvNeXt with another depthwise layer; RepLKNet
(Ding et al. 2022, arXiv 2203.06717). Both as their authors' code has them.
"""

import dataclasses
from collections.abc import Callable, Sequence

from deepmad_jax.arch.rows import BlockShape, Layer, Number, conv

SMALL_KERNEL = 5
"""Side of the small kernel beside the large one, and the width of SLaK's strips."""

Layers = list[Layer]


def slak(b: BlockShape) -> Layers:
    width, r, small = b.width, b.r_out, SMALL_KERNEL
    down = [
        Layer("layer_norm", "main", b.c_in, b.c_in, b.r_in, b.r_in),
        Layer(
            *("conv", "main", b.c_in, width, b.r_in, r, b.stride, b.stride),
            bias=True,
            draw="normal",
        ),
        Layer("fork", "shortcut", width, width, r, r),
    ]
    return [
        *(down if b.stride != 1 or b.c_in != width else ()),
        *_side_by_side(
            width,
            r,
            {"main": (b.kernel, small), "wide": (small, b.kernel), "small": (small, small)},
            "normal",
        ),
        Layer("layer_norm", "main", width, width, r, r),
        Layer("conv", "main", width, b.inner, r, r, bias=True, draw="normal"),
        Layer("act", "main", b.inner, b.inner, r, r, function="gelu"),
        Layer("conv", "main", b.inner, width, r, r, bias=True, draw="normal"),
        Layer("layer_scale", "main", width, width, r, r),
        Layer("add", "main", width, width, r, r),
    ]


def replk(b: BlockShape) -> Layers:
    """One of the authors' layers: a block with the large kernel, then one of 1x1 convs."""
    width, r, kernel = b.width, b.r_out, b.kernel
    down = [
        *_uniform(conv("main", b.c_in, width, b.r_in, b.r_in, act="relu")),
        *_uniform(conv("main", width, width, b.r_in, r, 3, b.stride, width, act="relu")),
        Layer("fork", "shortcut", width, width, r, r),
    ]
    side_by_side = {"main": (kernel, kernel), "small": (SMALL_KERNEL, SMALL_KERNEL)}
    return [
        *(down if b.stride != 1 or b.c_in != width else ()),
        Layer("norm", "main", width, width, r, r),
        *_uniform(conv("main", width, width, r, r, act="relu")),
        *_side_by_side(width, r, side_by_side, "uniform"),
        Layer("act", "main", width, width, r, r, function="relu"),
        *_uniform(conv("main", width, width, r, r)),
        Layer("add", "main", width, width, r, r),
        Layer("fork", "shortcut", width, width, r, r),
        Layer("norm", "main", width, width, r, r),
        *_uniform(conv("main", width, b.inner, r, r, act="gelu")),
        *_uniform(conv("main", b.inner, width, r, r)),
        Layer("add", "main", width, width, r, r),
    ]


def replk_stem(c_in: Number, width: Number, r_in: Number, r_conv: Number) -> Layers:
    """Four convs, the first and the last of stride 2."""
    r = -(-r_conv // 2)
    return [
        *_uniform(conv("main", c_in, width, r_in, r_conv, 3, 2, act="relu")),
        *_uniform(conv("main", width, width, r_conv, r_conv, 3, 1, width, act="relu")),
        *_uniform(conv("main", width, width, r_conv, r_conv, act="relu")),
        *_uniform(conv("main", width, width, r_conv, r, 3, 2, width, act="relu")),
    ]


def merged(layers: Sequence[Layer]) -> Layers:
    """A block with its convs side by side as one conv with bias, for inference.

    BatchNorm is then affine, so that a conv and its norm are a conv with bias, and the sum of two
    convs is one whose kernel is their sum, the smaller at the centre of the larger. One that does
    not fit into the other, as SLaK's two strips, stays beside it.
    """
    layers = list(layers)
    strips = [layer for layer in layers if layer.kind == "conv" and layer.kernel_w]
    if not strips:
        return layers
    main = next(layer for layer in strips if layer.branch == "main")
    gone = {
        layer.branch
        for layer in strips
        if layer is not main and layer.kernel <= main.kernel and layer.kernel_w <= main.kernel_w
    }
    at = layers.index(main)
    kept = [*layers[:at], dataclasses.replace(main, bias=True), *layers[at + 2 :]]
    return [layer for layer in kept if layer.branch not in gone]


LARGE_KERNEL_BLOCKS: dict[str, Callable[[BlockShape], Layers]] = {"slak": slak, "replk": replk}
"""Block kind -> its layers."""


def _side_by_side(
    width: Number, r: Number, kernels: dict[str, tuple[Number, Number]], draw: str
) -> Layers:
    """Depthwise convs of the same map, by branch and kernel (down, across), and their sum."""
    others = [branch for branch in kernels if branch != "main"]
    layers = [Layer("fork", branch, width, width, r, r) for branch in others]
    for branch, (down, across) in kernels.items():
        layers += [
            Layer(
                *("conv", branch, width, width, r, r, down, 1, width),
                kernel_w=across,
                draw=draw,
            ),
            Layer("norm", branch, width, width, r, r),
        ]
    return layers + [Layer("join", branch, width, width, r, r) for branch in others]


def _uniform(layers: list[tuple[Number, Layer]]) -> Layers:
    """What `conv` gives, its kernel drawn as PyTorch's default."""
    return [
        dataclasses.replace(layer, draw="uniform") if layer.kind == "conv" else layer
        for _, layer in layers
    ]
