"""The networks of data/imagenet_top1.csv, as the package's layer table has them.

What `deepmad_jax.arch` can hold is an `Architecture`, and entropy, rho, params and MACs are those
that it has everywhere in the package. Two kinds have a layer that arch has no block for; they are
counted as arch's with those layers beside them (``built`` says ``rows``), and no such network can
be trained here: RegNetY (a squeeze in ResNet's bottleneck) and ConvNeXt V2 (a response norm, which
holds two numbers a channel, in place of the layer scale).

Sources of the structures: RegNet by its parameters (Radosavovic et al. 2020, arXiv 2003.13678),
EfficientNet (arXiv 1905.11946) and its Lite form, MnasNet-B1 (arXiv 1807.11626), ResNeXt (arXiv
1611.05431), Wide ResNet (arXiv 1605.07146), ConvNeXt and its V2 (arXiv 2301.00808) with timm's
smaller sizes.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from deepmad_jax.arch import Architecture, Stage, Stem, cost
from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.rows import Layer, Row
from deepmad_jax.arch.zoo import zoo
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.design.program.problem import level_weights


class Counted(NamedTuple):
    """What is known of a network before it is trained.

    Attributes:
        entropies: of each level, nats.
        rho: depth over average width.
        layers: main-path convs.
        depths: blocks of each stage.
        params, macs: of the whole network.
        built: ``arch`` or ``rows``, see above.
    """

    entropies: tuple[float, ...]
    rho: float
    layers: int
    depths: tuple[int, ...]
    params: int
    macs: int
    built: str

    @property
    def entropy(self) -> float:
        """Weighted as the paper does: 1 a level, 8 the last."""
        return float(np.dot(level_weights(len(self.entropies)), self.entropies))


def imagenet(net: str, pixels: int) -> Counted:
    """A network by timm's name; KeyError where this module has none of that name."""
    arch = dataclasses.replace(_IMAGENET[net](), name=net, resolution=pixels)
    levels, rows = levels_of(arch), layer_table(arch)
    further = _further(net, arch)
    return Counted(
        tuple(level["entropy"] for level in levels),
        levels[-1]["rho"],
        int(levels[-1]["layers"]),
        tuple(stage.depth for stage in arch.stages),
        cost.params(rows) + cost.params(further),
        cost.macs(rows) + cost.macs(further),
        "rows" if further else "arch",
    )


def _further(net: str, arch: Architecture) -> list[Row]:
    """Layers beside those of arch: they have params and MACs, but no part in entropy."""
    if net.startswith("regnety"):
        return _squeezes(arch)
    if net.startswith("convnextv2"):
        return [
            row
            for stage in arch.stages
            for row in (
                Row("stage", stage.depth, Layer("norm", "main", stage.inner, stage.inner, 1, 1)),
                Row(
                    "stage",
                    -stage.depth,
                    Layer("layer_scale", "main", stage.width, stage.width, 1, 1),
                ),
            )
        ]
    return []


def _squeezes(arch: Architecture) -> list[Row]:
    """RegNetY's: a quarter of the block's input channels wide."""
    rows, c_in = [], arch.stem.width
    for stage in arch.stages:
        for repeat, given in ((1, c_in), (stage.depth - 1, stage.width)):
            squeezed = round(given * 0.25)
            for a, b in ((stage.inner, squeezed), (squeezed, stage.inner)):
                rows.append(Row("stage", repeat, Layer("conv", "se", a, b, 1, 1, bias=True)))
        c_in = stage.width
    return rows


def _resnet(depths: tuple[int, ...], groups: int = 1, inner: int = 64) -> Architecture:
    stages = tuple(
        Stage("res_bottleneck", 256 * 2**i, inner * 2**i, 3, depth, 2 if i else 1, groups)
        for i, depth in enumerate(depths)
    )
    return Architecture("", 224, 3, 1000, Stem(64, 7, 2, "max_pool"), stages)


def _regnet(w_0: int, slope: float, factor: float, group: int, depth: int) -> Architecture:
    """Widths w_0 + slope j, each taken to the nearest w_0 factor^s, then to multiples of 8 and of
    the group."""
    steps = np.rint(np.log1p(slope * np.arange(depth) / w_0) / math.log(factor))
    widths = (np.rint(w_0 * factor**steps / 8) * 8).astype(int)
    stages = []
    for width in dict.fromkeys(widths.tolist()):
        in_group = min(group, width)
        fitted = round(width / in_group) * in_group
        count = int((widths == width).sum())
        stages.append(Stage("res_bottleneck", fitted, fitted, 3, count, 2, fitted // in_group))
    return Architecture("", 224, 3, 1000, Stem(32), tuple(stages))


def _convnext(width: int, depths: tuple[int, ...]) -> Architecture:
    stages = tuple(
        Stage("convnext", width * 2**i, 4 * width * 2**i, 7, depth, 2 if i else 1)
        for i, depth in enumerate(depths)
    )
    return Architecture("", 224, 3, 1000, Stem(width, 4, 4, "patch"), stages, head_norm=True)


def _mobile(
    blocks: Iterable[tuple[int, int, int, int, int]],
    wide: float,
    deep: float,
    *,
    block: str = "inverted",
    activation: str = "relu6",
    fixed_ends: bool = False,
    head: int | None = None,
) -> Architecture:
    """``blocks`` as (width, expansion, kernel, depth, stride), scaled.

    With ``fixed_ends`` the stem, the head and the depths of the first and last stage are not.
    """
    blocks, stages = tuple(blocks), []
    for i, (width, expansion, kernel, depth, stride) in enumerate(blocks):
        scaled = _eights(width * wide)
        is_end = fixed_ends and i in (0, len(blocks) - 1)
        count = depth if is_end else math.ceil(depth * deep)
        stages.append(Stage(block, scaled, scaled * expansion, kernel, count, stride))
    stem = 32 if fixed_ends else _eights(32 * wide)
    last = head or (1280 if fixed_ends else _eights(1280 * wide))
    return Architecture("", 224, 3, 1000, Stem(stem), tuple(stages), last, activation)


def _eights(width: float) -> int:
    """The nearest multiple of 8 that is not below nine tenths."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


_B0 = (
    *((16, 1, 3, 1, 1), (24, 6, 3, 2, 2), (40, 6, 5, 2, 2), (80, 6, 3, 3, 2)),
    *((112, 6, 5, 3, 1), (192, 6, 5, 4, 2), (320, 6, 3, 1, 1)),
)
_V2 = (
    *((16, 1, 3, 1, 1), (24, 6, 3, 2, 2), (32, 6, 3, 3, 2), (64, 6, 3, 4, 2)),
    *((96, 6, 3, 3, 1), (160, 6, 3, 3, 2), (320, 6, 3, 1, 1)),
)
_MNAS = (
    *((16, 1, 3, 1, 1), (24, 3, 3, 3, 2), (40, 3, 5, 3, 2), (80, 6, 5, 3, 2)),
    *((96, 6, 3, 2, 1), (192, 6, 5, 4, 2), (320, 6, 3, 1, 1)),
)
_SCALES = (
    *((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4)),
    *((1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1)),
)
"""Width and depth of EfficientNet-B0 to B7 over B0's; of Lite 0 to 4 the first five."""

_REGNET_X = {
    "002": (24, 36.44, 2.49, 8, 13), "004": (24, 24.48, 2.54, 16, 22),
    "006": (48, 36.97, 2.24, 24, 16), "008": (56, 35.73, 2.28, 16, 16),
    "016": (80, 34.01, 2.25, 24, 18), "032": (88, 26.31, 2.25, 48, 25),
    "040": (96, 38.65, 2.43, 40, 23), "064": (184, 60.83, 2.07, 56, 17),
    "080": (80, 49.56, 2.88, 120, 23), "120": (168, 73.36, 2.37, 112, 19),
    "160": (216, 55.59, 2.1, 128, 22), "320": (320, 69.86, 2.0, 168, 23),
}  # fmt: skip
_REGNET_Y = {
    "002": (24, 36.44, 2.49, 8, 13), "004": (48, 27.89, 2.09, 8, 16),
    "006": (48, 32.54, 2.32, 16, 15), "008": (56, 38.84, 2.4, 16, 14),
    "016": (48, 20.71, 2.65, 24, 27), "032": (80, 42.63, 2.66, 24, 21),
    "040": (96, 31.41, 2.24, 64, 22), "064": (112, 33.22, 2.27, 72, 25),
    "080": (192, 76.82, 2.19, 56, 17), "120": (168, 73.36, 2.37, 112, 19),
    "160": (200, 106.23, 2.48, 112, 18), "320": (232, 115.89, 2.53, 232, 20),
}  # fmt: skip
_CONVNEXT = {
    "atto": (40, (2, 2, 6, 2)), "femto": (48, (2, 2, 6, 2)), "pico": (64, (2, 2, 6, 2)),
    "nano": (80, (2, 2, 8, 2)), "tiny": (96, (3, 3, 9, 3)), "small": (96, (3, 3, 27, 3)),
    "base": (128, (3, 3, 27, 3)), "large": (192, (3, 3, 27, 3)), "huge": (352, (3, 3, 27, 3)),
}  # fmt: skip

_part = functools.partial
_IMAGENET = {
    **{f"resnet{n}": _part(zoo, f"resnet{n}") for n in (18, 34, 50, 101, 152)},
    "resnet26": _part(_resnet, (2, 2, 2, 2)),
    "wide_resnet50_2": _part(_resnet, (3, 4, 6, 3), inner=128),
    "wide_resnet101_2": _part(_resnet, (3, 4, 23, 3), inner=128),
    "resnext50_32x4d": _part(_resnet, (3, 4, 6, 3), 32, 128),
    "resnext101_32x4d": _part(_resnet, (3, 4, 23, 3), 32, 128),
    "resnext101_32x8d": _part(_resnet, (3, 4, 23, 3), 32, 256),
    "resnext101_64x4d": _part(_resnet, (3, 4, 23, 3), 64, 256),
    **{f"regnetx_{size}": _part(_regnet, *given) for size, given in _REGNET_X.items()},
    **{f"regnety_{size}": _part(_regnet, *given) for size, given in _REGNET_Y.items()},
    **{f"convnext_{size}": _part(_convnext, *given) for size, given in _CONVNEXT.items()},
    **{f"convnextv2_{size}": _part(_convnext, *given) for size, given in _CONVNEXT.items()},
    **{
        f"{prefix}efficientnet_b{i}": _part(
            _mobile, _B0, *scale, block="inverted_se", activation="silu"
        )
        for i, scale in enumerate(_SCALES)
        for prefix in ("", "tf_")
    },
    **{
        f"{prefix}efficientnet_lite{i}": _part(_mobile, _B0, *scale, fixed_ends=True)
        for i, scale in enumerate(_SCALES[:5])
        for prefix in ("", "tf_")
    },
    "mnasnet_100": _part(_mobile, _MNAS, 1.0, 1.0, activation="relu"),
    "mobilenetv2_050": _part(_mobile, _V2, 0.5, 1.0, head=1280),
    "mobilenetv2_100": _part(_mobile, _V2, 1.0, 1.0),
    "mobilenetv2_110d": _part(_mobile, _V2, 1.1, 1.2, fixed_ends=True),
    "mobilenetv2_120d": _part(_mobile, _V2, 1.2, 1.4, fixed_ends=True),
    "mobilenetv2_140": _part(_mobile, _V2, 1.4, 1.0),
}
"""timm's name -> what makes its architecture."""
