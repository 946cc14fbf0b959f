"""The transformers of data/vit_bench_101.csv, as rows of the package's layers.

Entropy of a transformer is this project's own reading, after the paper's Proposition 2: values,
output, expansion and projection of a block are its main path; queries and keys weigh tokens and
carry no values, so they count in cost only. In the package itself it is None. AutoFormer's heads do
not fill the width, and PiT pools between its stages: neither is an `Architecture`, nor can be
trained here. Relative positions of AutoFormer's attention are left out. Sources: AutoFormer (Chen
et al. 2021, arXiv 2107.00651), PiT (Heo et al. 2021, arXiv 2103.16302).
"""

import itertools

from benchmarks.public_nets import Counted
from deepmad_jax.arch import cost
from deepmad_jax.arch.rows import Layer, Row
from deepmad_jax.arch.token_blocks import linear
from deepmad_jax.design.program.entropy import effectiveness, entropy_per_level, main_path


def autoformer(
    width: int, mlp_ratios: tuple[float, ...], heads: tuple[int, ...], classes: int = 1000
) -> Counted:
    """16-pixel patches of 224, a class token, heads of 64 channels; one level."""
    opening = [
        Layer("conv", "main", 3, width, 224, 14, 16, 16, bias=True),
        Layer("position", "main", width, width, 14, 14, extra=1, function="bicubic"),
    ]
    blocks = [
        _attention(width, 64 * count, round(width * ratio), 14)
        for ratio, count in zip(mlp_ratios, heads, strict=True)
    ]
    return _tokens([(opening, blocks)], width, classes)


def pit(
    base: int, mlp_ratio: float, depths: tuple[int, ...], heads: tuple[int, ...], classes: int = 100
) -> Counted:
    """16-pixel patches of 224 at stride 8; at each new stage a depthwise 3x3 conv of stride 2
    multiplies channels, and a linear layer does so to the class token."""
    stages, r, width = [], 27, 0
    for count, depth in zip(heads, depths, strict=True):
        c_in, width = width, base * count
        if not stages:
            opening = [
                Layer("conv", "main", 3, width, 224, r, 16, 8, bias=True),
                Layer("position", "main", width, width, r, r, function="bicubic"),
                Layer("layer_scale", "main", width, width, r, r),  # the class token, no position
            ]
        else:
            r_in, r = r, -(-r // 2)
            opening = [
                Layer("conv", "main", c_in, width, r_in, r, 3, 2, c_in, bias=True),
                Layer("dense", "head", c_in, width, 1, 1),
            ]
        block = _attention(width, width, round(width * mlp_ratio), r)
        stages.append((opening, [block] * depth))
    return _tokens(stages, width, classes)


def _attention(c: int, inside: int, hidden: int, r: int) -> list[Layer]:
    """Queries and keys stand on a branch of their own: they have cost, but no entropy."""
    return [
        Layer("layer_norm", "main", c, c, r, r, extra=1),
        linear("keys", c, 2 * inside, r, extra=1),
        linear("main", c, inside, r, extra=1),
        Layer("attention", "main", inside, inside, r, r, extra=1),
        linear("main", inside, c, r, extra=1),
        Layer("layer_norm", "main", c, c, r, r, extra=1),
        linear("main", c, hidden, r, extra=1),
        linear("main", hidden, c, r, extra=1),
    ]


def _tokens(
    stages: list[tuple[list[Layer], list[list[Layer]]]], width: int, classes: int
) -> Counted:
    rows: list[Row] = []
    entropies = []
    for opening, blocks in stages:
        rows += [Row("stage", 1, layer) for layer in itertools.chain(opening, *blocks)]
        last = rows[-1].layer
        layers, sum_log = main_path(rows)
        entropies.append(float(entropy_per_level(last.r_out, last.c_out, sum_log)))
    head = [
        Row("head", 1, Layer("layer_norm", "head", width, width, 1, 1)),
        Row("head", 1, Layer("dense", "head", width, classes, 1, 1)),
    ]
    return Counted(
        tuple(entropies),
        float(effectiveness(layers, sum_log)),
        int(layers),
        tuple(len(blocks) for _, blocks in stages),
        cost.params([*rows, *head]),
        cost.macs([*rows, *head]),
        "rows",
    )
