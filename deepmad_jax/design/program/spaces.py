"""The paper's search spaces as fields of `Problem`, written once for configs and library.

Budgets, resolution and classes are each design's own and not here. Source: paper, section 5 and
appendix; where it is silent, the spaces of the authors' released code.
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

_RESIDUAL = {**BOTTLENECK, "inner_ratio": (0.25, 1.0)}
_ANY_STEM = {**MOBILE, "stem_width": (16, 64)}

DEFAULTS: Mapping[str, Space] = {
    "basic": {**_RESIDUAL, "block": "basic"},
    "k1kx": {**_RESIDUAL, "block": "k1kx"},
    "bottleneck": BOTTLENECK,
    "mbconv": {**_ANY_STEM, "block": "mbconv"},
    "mbconv_se": _ANY_STEM,
}
"""Block kind -> the space of a design for which nothing but a budget is said."""
