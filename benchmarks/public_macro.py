"""The networks of data/nas_bench_macro_cifar10.csv, as the package's layer table has them.

A code has a digit for each of eight blocks: 0 for none, which where a stage strides is a 1x1 conv
without activation, 1 and 2 for MobileNetV2's block with kernel 3 and expansion 3, or 5 and 6. That
1x1 conv is no block of `deepmad_jax.arch`, so such networks are rows alone (``built`` says so) and
cannot be trained here. Source: Su et al. 2021, arXiv 2103.11922.
"""

import functools
from typing import NamedTuple

from benchmarks.public_nets import Counted
from deepmad_jax.arch import Architecture, Stage, Stem, cost
from deepmad_jax.arch.layers import head_rows, stage_rows, stem_rows
from deepmad_jax.arch.rows import Row, conv
from deepmad_jax.design.program.entropy import effectiveness, entropy_per_level, main_path

_MACRO_STAGES = ((64, 2), (128, 3), (256, 3))
_MACRO_CHOICES = {"1": (3, 3), "2": (5, 6)}
"""Digit of a code -> kernel and expansion."""


def macro(code: str) -> Counted:
    """A network of NAS-Bench-Macro by its eight digits, on CIFAR's 32 pixels."""
    stem = stem_rows(3, 32, 3, 1, 32, 32)
    params, macs = cost.params(stem), cost.macs(stem)
    layers, sum_log = main_path(stem)
    sizes, depths = [(32, 32, float(sum_log))], []
    digits, c_in, r = iter(code), 32, 32
    for width, count in _MACRO_STAGES:
        depth = 0
        for place in range(count):
            stride = 1 if place else 2
            block = _macro_block(next(digits), c_in, width, r, stride)
            params, macs = params + block.params, macs + block.macs
            layers, sum_log = layers + block.layers, sum_log + block.sum_log
            depth += block.layers > 0
            c_in, r = width, r // stride
        sizes.append((r, width, float(sum_log)))
        depths.append(depth)
    head = head_rows(c_in, 1280, 10, r, "relu6")
    more_layers, more_log = main_path(head)
    layers, sum_log = layers + more_layers, sum_log + more_log
    sizes[-1] = (r, 1280, float(sum_log))
    return Counted(
        tuple(float(entropy_per_level(*size)) for size in sizes),
        float(effectiveness(layers, sum_log)),
        int(layers),
        tuple(depths),
        params + cost.params(head),
        macs + cost.macs(head),
        "arch" if all(code[i] != "0" for i in (0, 2, 5)) else "rows",
    )


def macro_architecture(code: str) -> Architecture:
    """The same network, where no strided block is a mere 1x1 conv, as arch holds it."""
    stages, digits = [], iter(code)
    for width, count in _MACRO_STAGES:
        for place in range(count):
            digit = next(digits)
            if digit == "0":
                continue
            kernel, expansion = _MACRO_CHOICES[digit]
            stride = 1 if place else 2
            stages.append(Stage("inverted", width, width * expansion, kernel, 1, stride))
    return Architecture(code, 32, 3, 10, Stem(32, 3, 1), tuple(stages), 1280, "relu6")


class _Block(NamedTuple):
    params: int
    macs: int
    layers: float
    sum_log: float


@functools.cache
def _macro_block(digit: str, c_in: int, width: int, r: int, stride: int) -> _Block:
    if digit == "0":
        counted = conv("main", c_in, width, r, r // stride, 1, stride) if stride == 2 else []
        rows = [Row("first", count, layer) for count, layer in counted]
    else:
        kernel, expansion = _MACRO_CHOICES[digit]
        rows = stage_rows(
            "inverted",
            c_in=c_in,
            width=width,
            inner=width * expansion,
            kernel=kernel,
            depth=1,
            stride=stride,
            groups=1,
            r_in=r,
            r_out=r // stride,
            activation="relu6",
        )
    layers, sum_log = main_path(rows)
    return _Block(cost.params(rows), cost.macs(rows), float(layers), float(sum_log))
