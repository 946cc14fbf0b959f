"""The structures of the networks that the paper compares with, as `zoo.py` names them.

Each function also builds the small networks of tests, where the authors' constructor has other
numbers. Sources: see `token_blocks.py` and `large_kernel_blocks.py`.
"""

from collections.abc import Sequence

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.stages import Stage, Stem


def swin(
    name: str,
    width: int,
    depths: Sequence[int],
    heads: Sequence[int],
    window: int = 7,
    resolution: int = 224,
    classes: int = 1000,
    stage_norms: bool = False,
) -> Architecture:
    """Liu et al. 2021: widths doubled at each merging."""
    stages = tuple(
        Stage("swin", width * 2**i, 4 * width * 2**i, window, depth, 2 if i else 1, heads=heads[i])
        for i, depth in enumerate(depths)
    )
    stem = Stem(width, 4, 4, "patches")
    return Architecture(name, resolution, 3, classes, stem, stages, stage_norms=stage_norms)


def deit(
    name: str,
    width: int,
    heads: int,
    depth: int = 12,
    patch: int = 16,
    resolution: int = 224,
    classes: int = 1000,
) -> Architecture:
    """Touvron et al. 2021, without distillation token."""
    stage = Stage("vit", width, 4 * width, 1, depth, 1, heads=heads)
    return Architecture(
        name, resolution, 3, classes, Stem(width, patch, patch, "class_token"), (stage,)
    )


def pvt(
    name: str,
    depths: Sequence[int],
    widths: Sequence[int] = (64, 128, 320, 512),
    resolution: int = 224,
    classes: int = 1000,
) -> Architecture:
    """Wang et al. 2021, version 1."""
    numbers = zip(widths, (8, 8, 4, 4), (8, 4, 2, 1), depths, (1, 2, 5, 8), strict=True)
    stages = tuple(
        Stage(
            "pvt" if i < 3 else "pvt_class",
            *(width, width * ratio, reduction, depth, 2 if i else 1),
            heads=heads,
        )
        for i, (width, ratio, reduction, depth, heads) in enumerate(numbers)
    )
    return Architecture(name, resolution, 3, classes, Stem(widths[0], 4, 4, "patches"), stages)


def t2t(
    name: str,
    width: int,
    depth: int,
    heads: int,
    token_width: int = 64,
    performer: bool = False,
    resolution: int = 224,
    classes: int = 1000,
) -> Architecture:
    """Yuan et al. 2021; the paper compares with the form that has transformers for tokens."""
    stem = Stem(width, 7, 4, "t2t_performer" if performer else "t2t", token_width)
    stage = Stage("t2t", width, 3 * width, 1, depth, 1, heads=heads)
    return Architecture(name, resolution, 3, classes, stem, (stage,))


def tnt(
    name: str,
    width: int,
    words: int,
    heads: int,
    depth: int = 12,
    resolution: int = 224,
    classes: int = 1000,
) -> Architecture:
    """Han et al. 2021, the code of June 2021: each patch cut into words by itself."""
    stage = Stage("tnt", width, 4 * width, 1, depth, 1, heads=heads, words=words)
    stem = Stem(width, 16, 16, "tnt", words)
    return Architecture(name, resolution, 3, classes, stem, (stage,))


def slak(
    name: str,
    widths: Sequence[int],
    depths: Sequence[int],
    kernels: Sequence[int] = (51, 49, 47, 13),
    resolution: int = 224,
    classes: int = 1000,
) -> Architecture:
    """Liu et al. 2022: ConvNeXt's stages, 1.3 times as wide for 40 % zeros among the weights."""
    numbers = zip(widths, kernels, depths, strict=True)
    stages = tuple(
        Stage("slak", width, 4 * width, kernel, depth, 2 if i else 1)
        for i, (width, kernel, depth) in enumerate(numbers)
    )
    stem = Stem(widths[0], 4, 4, "patch")
    return Architecture(name, resolution, 3, classes, stem, stages, head_norm=True)


def replknet(
    name: str,
    widths: Sequence[int] = (128, 256, 512, 1024),
    depths: Sequence[int] = (2, 2, 18, 2),
    kernels: Sequence[int] = (31, 29, 27, 13),
    resolution: int = 224,
    classes: int = 1000,
) -> Architecture:
    """Ding et al. 2022."""
    numbers = zip(widths, kernels, depths, strict=True)
    stages = tuple(
        Stage("replk", width, 4 * width, kernel, depth, 2 if i else 1)
        for i, (width, kernel, depth) in enumerate(numbers)
    )
    stem = Stem(widths[0], 3, 2, "large_kernel")
    return Architecture(name, resolution, 3, classes, stem, stages)


_SLAK_SMALL, _SLAK_BASE = (124, 249, 499, 998), (166, 332, 665, 1331)

COMPARED = (
    swin("swin_t", 96, (2, 2, 6, 2), (3, 6, 12, 24)),
    swin("swin_s", 96, (2, 2, 18, 2), (3, 6, 12, 24)),
    swin("swin_b", 128, (2, 2, 18, 2), (4, 8, 16, 32)),
    deit("deit_s", 384, 6),
    deit("deit_b", 768, 12),
    pvt("pvt_small", (3, 4, 6, 3)),
    pvt("pvt_large", (3, 8, 27, 3)),
    tnt("tnt_s", 384, 24, 6),
    tnt("tnt_b", 640, 40, 10),
    t2t("t2t_vit_t_14", 384, 14, 6),
    t2t("t2t_vit_t_19", 448, 19, 7),
    t2t("t2t_vit_t_24", 512, 24, 8),
    slak("slak_t", _SLAK_SMALL, (3, 3, 9, 3)),
    slak("slak_s", _SLAK_SMALL, (3, 3, 27, 3)),
    slak("slak_b", _SLAK_BASE, (3, 3, 27, 3)),
    replknet("replknet_31b"),
)
"""The networks of Table 3 that are not of the kinds in `zoo_nets.py`."""
