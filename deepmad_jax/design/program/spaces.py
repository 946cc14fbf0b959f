"""The paper's search spaces as fields of `Problem`, written once for configs and library.

Budgets, resolution and classes are each design's own and not here. Source: paper, section 5 and
appendix; where it is silent, the spaces of the authors' released code. The spaces of further blocks
are ours, around the networks that the blocks come from.
"""

from collections.abc import Mapping
from typing import Any

Space = Mapping[str, Any]

BOTTLENECK: Space = {
    "block": "bottleneck",
    "strides": (2, 2, 2, 1, 2),
    "kernels": (3, 5),
    "inner_ratio": (0.1, 1.0),
    "stem_width": (8, 64),
    "rho": 0.3,
}
"""DeepMAD-R18, R34, R50 and the two designed for a GPU."""

MOBILE: Space = {
    "block": "mbconv_se",
    "strides": (1, 2, 2, 2, 1, 2, 1),
    "kernels": (3, 5),
    "inner_ratio": (1.5, 6.0),
    "stem_width": (16, 32),
    "max_width": (1280,),
    "final_width": 1280,
    "rho": 0.5,
}
"""DeepMAD-B0 and MB."""

INVERTED: Space = {
    "block": "mbconv_se",
    "strides": (2, 2, 2, 2, 1),
    "kernels": (3, 5),
    "inner_ratio": (6.0,),
    "stem_width": (16, 64),
    "max_width": (1280,),
    "rho": 0.5,
}
"""DeepMAD-29M, 50M and 89M; the width of the final conv is each one's own."""

SMALL_IMAGES: Space = {
    "strides": (1, 2, 2),
    "stem_stride": 1,
    "stem_width": (4, 64),
    "min_width": (4,),
    "multiple_of": 4,
    "final_width": None,
}
"""What changes up to `SMALL_PX` pixels a side: three levels and narrower, as for CIFAR."""

SMALL_PX = 64

CIFAR: Space = {"block": "basic", "kernels": (3,), "inner_ratio": (0.25, 1.0), **SMALL_IMAGES}
"""The space of the paper's section 5.3, around ResNet-20."""

FUSED: Space = {**BOTTLENECK, "block": "fused_mbconv", "inner_ratio": (1.0, 4.0)}
"""Around the first stages of EfficientNetV2."""

CONVNEXT: Space = {
    "block": "convnext",
    "strides": (1, 2, 2, 2),
    "kernels": (7,),
    "inner_ratio": (4.0,),
    "patch": 4,
    "stem_width": (8, 256),
    "rho": 0.5,
}
"""Around ConvNeXt: patches of 4 pixels, 7x7 depthwise convs, four times as wide inside."""

ATTENTION: Space = {
    "block": "attention",
    "strides": (1,),
    "inner_ratio": (1.0, 4.0),
    "patch": 16,
    "positions": True,
    "stem_width": (8, 2048),
    "rho": 0.5,
}
"""Around ViT: patches of 16 pixels, heads of 64 channels."""

HYBRID: Space = {
    **CONVNEXT,
    "blocks": ("convnext", "convnext", "attention", "attention"),
    "heads": tuple(range(1, 33)),
    "head_width": 32,
}
"""Convs while the map is large, attention once it is small."""

CLIPS: Space = {**BOTTLENECK, "kernels_t": (1, 3)}
"""Around E3D (arXiv 2303.02693): bottlenecks of 1xkxk or 3xkxk, frames never halved as in X3D."""

_RESIDUAL = {**BOTTLENECK, "inner_ratio": (0.25, 1.0)}
_ANY_STEM = {**MOBILE, "stem_width": (16, 64)}

DEFAULTS: Mapping[str, Space] = {
    "basic": {**_RESIDUAL, "block": "basic"},
    "k1kx": {**_RESIDUAL, "block": "k1kx"},
    "bottleneck": BOTTLENECK,
    "mbconv": {**_ANY_STEM, "block": "mbconv"},
    "mbconv_se": _ANY_STEM,
    "fused_mbconv": FUSED,
    "convnext": CONVNEXT,
    "attention": ATTENTION,
}
"""Block kind -> the space of a design for which nothing but a budget is said."""


def for_small_images(space: Space) -> Space:
    """The space for images of up to `SMALL_PX` pixels; where it has patches, of a quarter's side.

    >>> for_small_images(CONVNEXT)["patch"], for_small_images(ATTENTION)["strides"]
    (2, (1,))
    """
    if "patch" not in space:
        return {**space, **SMALL_IMAGES}
    strides = space["strides"] if len(space["strides"]) == 1 else SMALL_IMAGES["strides"]
    patch = max(2, space["patch"] // 4)
    return {**space, **SMALL_IMAGES, "strides": strides, "patch": patch, "stem_width": (4, 256)}
