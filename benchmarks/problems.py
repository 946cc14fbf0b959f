"""The problems that the benchmarks solve: the named ones of `configs/`, and a spread of others.

`NAMED` are the paper's networks, on which the search's fixed numbers were chosen. `OTHERS` were
not: they lie between a twentieth and twenty times ResNet-18's budgets and differ in block, rho,
weights, kernels, resolution, lattice and shape, so that a method that suits the named problems
alone shows itself here.
"""

import dataclasses
import math
from pathlib import Path

from deepmad_jax.config.load import parse
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.spaces import MOBILE

CONFIGS = Path(__file__).parent.parent / "configs"
NAMES = (
    "r18",
    "r34",
    "r50",
    "deepmad_29m",
    "deepmad_29m:288",
    "deepmad_50m",
    "deepmad_89m",
    "b0",
    "mb",
    "r20_cifar",
    "digits",
)
"""Config files, with a variant after the colon."""


def _named(name: str) -> Problem:
    file, _, variant = name.partition(":")
    path = CONFIGS / f"{file}.py"
    config, _ = parse(["problems", "--config", f"{path}:{variant}" if variant else str(path)])
    return config.design


NAMED = {name.replace(":", "_"): _named(name) for name in NAMES}

_R18 = Problem(macs=1.82e9, params=11.69e6, rho=0.3)
_MOBILE = Problem(**{**MOBILE, "block": "mbconv"})


def _vary(base: Problem, scale: float = 1.0, **fields: object) -> Problem:
    """``base`` with both cost budgets scaled and fields replaced."""
    scaled = {"macs": base.macs * scale, "params": base.params * scale}
    return dataclasses.replace(base, **{**scaled, **fields})


OTHERS = {
    # Size: a twentieth to twenty times ResNet-18.
    "r18_x0.05": _vary(_R18, 0.05, classes=100),
    "r18_x0.25_px160_k357": _vary(_R18, 0.25, rho=0.2, resolution=160, kernels=(3, 5, 7)),
    "r18_x5_rho0.5": _vary(_R18, 5, rho=0.5),
    "r18_x20_m16": _vary(_R18, 20, multiple_of=16, max_width=(4096,), max_depth=(60,)),
    # rho: wide and shallow, then narrow and deep.
    "r18_rho0.1": _vary(_R18, rho=0.1),
    "r18_rho1.5": _vary(_R18, rho=1.5, max_depth=(80,)),
    # Weights: as for detection; none of the paper's guidelines.
    "r18_alpha_detect": _vary(_R18, alpha=(0.0, 0.0, 1.0, 1.0, 6.0)),
    "r18_no_guidelines": _vary(
        _R18, alpha=(0.0, 0.0, 0.0, 0.0, 1.0), beta=0.0, monotone=False, max_depth=(12,)
    ),
    # One budget only.
    "r18_macs_only_px384": _vary(_R18, 2, params=math.inf, resolution=384),
    "r18_params_only": _vary(_R18, macs=math.inf),
    # Shape: one stride a stage, seven stages; a fixed bottleneck of a quarter, per-stage bounds.
    "seven_stages": _vary(_R18, 2, strides=(1, 2, 1, 2, 1, 2, 1), kernels=(3,), rho=0.4),
    "quarter_bottleneck": _vary(
        _R18,
        2,
        strides=(1, 2, 2, 2),
        inner_ratio=(0.25,),
        kernels=(3, 5, 7),
        min_width=(32, 64, 128, 256),
        max_width=(256, 512, 1024, 2048),
        min_depth=(2,),
        max_depth=(20,),
    ),
    # Other blocks.
    "basic_px96_m4": _vary(
        _R18, 0.3, block="basic", strides=(1, 2, 2, 2), multiple_of=4, resolution=96, rho=0.2
    ),
    "k1kx": _vary(_R18, block="k1kx", kernels=(3, 5, 7)),
    "k1kx_x0.1_rho0.8": _vary(_R18, 0.1, block="k1kx", rho=0.8, resolution=128, multiple_of=4),
    "mbconv_six": _vary(
        _MOBILE, macs=0.6e9, params=5e6, inner_ratio=(6.0,), rho=0.5, resolution=192
    ),
    "mbconv_px384_k357": _vary(
        _MOBILE,
        macs=3e9,
        params=12e6,
        inner_ratio=(2.0, 6.0),
        kernels=(3, 5, 7),
        rho=1.0,
        resolution=384,
    ),
    # Spaces where a kernel pays only together with other widths, or ties of widths matter.
    "four_stages_k357": _vary(
        _R18,
        macs=3.35e8,
        params=1.7e6,
        strides=(1, 2, 2, 2),
        kernels=(3, 5, 7),
        inner_ratio=(0.25, 1.0),
        stem_width=(16, 64),
        rho=0.63,
        resolution=256,
    ),
    "basic_seven_k357": _vary(
        _R18,
        block="basic",
        macs=1.008e9,
        params=29.3e6,
        strides=(1, 2, 2, 2, 1, 2, 1),
        kernels=(3, 5, 7),
        inner_ratio=(0.25,),
        stem_width=(16, 64),
        resolution=160,
    ),
    "k1kx_seven_k357": _vary(
        _R18,
        block="k1kx",
        macs=1.85e9,
        params=22.8e6,
        strides=(1, 2, 2, 2, 1, 2, 1),
        kernels=(3, 5, 7),
        inner_ratio=(0.25, 1.0),
        stem_width=(16, 64),
        rho=0.16,
        resolution=192,
    ),
    "mbconv_k357": _vary(
        _MOBILE,
        macs=95e6,
        params=2.65e6,
        kernels=(3, 5, 7),
        stem_width=(16, 64),
        rho=0.57,
        resolution=128,
    ),
    "mbconv_se_tiny": _vary(
        _MOBILE, block="mbconv_se", macs=60e6, params=2e6, rho=0.8, resolution=160, classes=500
    ),
}

PROBLEMS = NAMED | OTHERS
