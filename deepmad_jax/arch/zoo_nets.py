"""The structures of the published networks, as `zoo.py` names them."""

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.stages import Stage, Stem


def _deepmad(
    name: str,
    block: str,
    stem: int,
    stages: list[tuple[int, int, int, int, int]],
    final_width: int | None = None,
    resolution: int = 224,
) -> Architecture:
    """``stages`` as (width, inner, kernel, depth, stride)."""
    built = tuple(Stage(block, *numbers) for numbers in stages)
    return Architecture(name, resolution, 3, 1000, Stem(stem), built, final_width)


def _resnet(name: str, block: str, depths: tuple[int, ...]) -> Architecture:
    """He et al. 2015, Table 1."""
    expansion = 4 if block == "res_bottleneck" else 1
    stages = tuple(
        Stage(block, 64 * 2**i * expansion, 64 * 2**i, 3, depth, 1 if i == 0 else 2)
        for i, depth in enumerate(depths)
    )
    return Architecture(name, 224, 3, 1000, Stem(64, 7, 2, "max_pool"), stages)


def _resnet_cifar(name: str, depth: int) -> Architecture:
    """He et al. 2015, section 4.2: 6n + 2 layers, shortcuts without parameters."""
    stages = tuple(
        Stage("res_basic_pad", width, width, 3, (depth - 2) // 6, 1 if width == 16 else 2)
        for width in (16, 32, 64)
    )
    return Architecture(name, 32, 3, 10, Stem(16, 3, 1), stages)


def _inverted(
    name: str, block: str, activation: str, stages: list[tuple[int, int, int, int, int]]
) -> Architecture:
    """``stages`` as (width, expansion, kernel, depth, stride)."""
    built = tuple(
        Stage(block, width, width * expansion, kernel, depth, stride)
        for width, expansion, kernel, depth, stride in stages
    )
    return Architecture(name, 224, 3, 1000, Stem(32), built, 1280, activation)


def _convnext(name: str, width: int, depths: tuple[int, ...]) -> Architecture:
    """Liu et al. 2022, section 3: patches of 4 pixels, widths doubled at each stride."""
    stages = tuple(
        Stage("convnext", width * 2**i, 4 * width * 2**i, 7, depth, 1 if i == 0 else 2)
        for i, depth in enumerate(depths)
    )
    stem = Stem(width, 4, 4, "patch")
    return Architecture(name, 224, 3, 1000, stem, stages, head_norm=True)


ARCHITECTURES = (
    _deepmad(
        "deepmad_r18",
        "bottleneck",
        32,
        [
            (96, 40, 5, 1, 2),
            (384, 40, 5, 6, 2),
            (384, 64, 5, 9, 2),
            (1024, 104, 3, 10, 1),
            (672, 104, 5, 12, 2),
        ],
    ),
    _deepmad(
        "deepmad_r34",
        "bottleneck",
        24,
        [
            (128, 24, 5, 1, 2),
            (512, 48, 5, 10, 2),
            (896, 88, 5, 13, 2),
            (1024, 104, 5, 11, 1),
            (616, 128, 5, 14, 2),
        ],
    ),
    _deepmad(
        "deepmad_r50",
        "bottleneck",
        32,
        [
            (128, 40, 5, 1, 2),
            (512, 48, 5, 11, 2),
            (872, 88, 5, 12, 2),
            (1024, 104, 5, 13, 1),
            (1232, 120, 5, 15, 2),
        ],
    ),
    _deepmad(
        "deepmad_29m",
        "mbconv_se",
        40,
        [
            (40, 240, 5, 2, 1),
            (85, 512, 5, 4, 2),
            (134, 800, 5, 6, 2),
            (201, 1208, 5, 6, 2),
            (312, 1872, 5, 5, 2),
        ],
        1792,
    ),
    _deepmad(
        "deepmad_29m_288",
        "mbconv_se",
        40,
        [
            (61, 368, 5, 4, 2),
            (96, 576, 5, 4, 2),
            (145, 872, 5, 5, 2),
            (217, 1304, 5, 6, 1),
            (328, 1968, 5, 4, 2),
        ],
        1792,
        resolution=288,
    ),
    _deepmad(
        "deepmad_50m",
        "mbconv_se",
        48,
        [
            (112, 672, 5, 7, 2),
            (168, 1008, 5, 9, 2),
            (252, 1512, 5, 7, 2),
            (378, 2272, 5, 3, 2),
            (576, 3456, 3, 1, 1),
        ],
        2048,
    ),
    _deepmad(
        "deepmad_89m",
        "mbconv_se",
        56,
        [
            (136, 816, 5, 10, 2),
            (204, 1224, 5, 9, 2),
            (326, 1952, 5, 7, 2),
            (490, 2944, 5, 4, 2),
            (744, 4464, 3, 1, 1),
        ],
        2560,
    ),
    _deepmad(
        "r18_like",
        "bottleneck",
        40,
        [
            (256, 64, 3, 2, 2),
            (360, 88, 3, 3, 2),
            (512, 128, 3, 6, 2),
            (512, 176, 3, 4, 2),
            (512, 176, 3, 12, 1),
        ],
    ),
    _resnet("resnet18", "res_basic", (2, 2, 2, 2)),
    _resnet("resnet34", "res_basic", (3, 4, 6, 3)),
    _resnet("resnet50", "res_bottleneck", (3, 4, 6, 3)),
    _resnet("resnet101", "res_bottleneck", (3, 4, 23, 3)),
    _resnet("resnet152", "res_bottleneck", (3, 8, 36, 3)),
    _resnet_cifar("resnet20", 20),
    _resnet_cifar("resnet56", 56),
    _resnet_cifar("resnet110", 110),
    _inverted(
        "mobilenet_v2",
        "inverted",
        "relu6",
        [
            (16, 1, 3, 1, 1),
            (24, 6, 3, 2, 2),
            (32, 6, 3, 3, 2),
            (64, 6, 3, 4, 2),
            (96, 6, 3, 3, 1),
            (160, 6, 3, 3, 2),
            (320, 6, 3, 1, 1),
        ],
    ),
    _inverted(
        "efficientnet_b0",
        "inverted_se",
        "silu",
        [
            (16, 1, 3, 1, 1),
            (24, 6, 3, 2, 2),
            (40, 6, 5, 2, 2),
            (80, 6, 3, 3, 2),
            (112, 6, 5, 3, 1),
            (192, 6, 5, 4, 2),
            (320, 6, 3, 1, 1),
        ],
    ),
    _convnext("convnext_t", 96, (3, 3, 9, 3)),
    _convnext("convnext_s", 96, (3, 3, 27, 3)),
    _convnext("convnext_b", 128, (3, 3, 27, 3)),
)
"""Every network of the zoo, the authors' own first."""
