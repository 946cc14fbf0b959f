"""The program's numbers at a point: entropy, rho, penalty, costs, for one or many candidates.

Paper Eq. 5: maximise sum_m alpha_m H_m - beta Q over widths, inner widths, kernels and depths,
subject to rho <= rho0, MACs <= budget, params <= budget and widths that do not shrink.

`evaluate` serves the relaxed solver (traced reals) and the integer search (NumPy batches) from the
same rows. What changes from problem to problem of one `Form` is in `Data`, as arrays, so that one
compilation serves them all.
"""

import dataclasses
from types import ModuleType
from typing import NamedTuple

import numpy as np

from deepmad_jax.arch import cost
from deepmad_jax.arch.layers import Mode, Row, head_rows, stage_rows, stem_rows
from deepmad_jax.arch.spec import MBCONV_BLOCKS, Architecture
from deepmad_jax.design.program.arrays import Array, namespace
from deepmad_jax.design.program.entropy import (
    depth_penalty,
    effectiveness,
    entropy_per_level,
    main_path,
    tinynas_depth_penalty,
)
from deepmad_jax.design.program.limits import COUNTS, Sections, measure, read_latency
from deepmad_jax.design.program.problem import Problem


class Point(NamedTuple):
    """A candidate, or a batch of them along leading axes; real or integral values.

    Attributes:
        stem: channels, shape (...).
        width, inner, kernel, depth: per stage, shape (..., S).
    """

    stem: Array
    width: Array
    inner: Array
    kernel: Array
    depth: Array


class Numbers(NamedTuple):
    """The program's numbers in the problem's convention, shapes (...) but where said.

    Attributes:
        objective: entropy - penalty, nats.
        entropy: sum_m alpha_m H_m.
        entropy_per_level: (..., levels).
        penalty: beta Q.
        rho_per_level: N / wbar of the layers up to each level's end, (..., levels).
        rho: the one that is constrained.
        params, macs: costs (in the tinynas convention its params and flops).
        extra: for each of `Form.extras`, all numbers its limit applies to, (..., count).
    """

    objective: Array
    entropy: Array
    entropy_per_level: Array
    penalty: Array
    rho_per_level: Array
    rho: Array
    params: Array
    macs: Array
    extra: tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class Form:
    """What is static in a problem: problems of equal form share one compiled solver.

    ``extras`` names the further limits that are set (see `limits.MEASURES`).
    """

    block: str
    strides: tuple[int, ...]
    level_ends: tuple[int, ...]
    stem_stride: int
    has_final: bool
    monotone: bool
    convention: str
    extras: tuple[str, ...]


class Data(NamedTuple):
    """What may change between problems of one form: arrays of float64.

    Attributes:
        resolutions: pixels after the stem and each stage, (S + 1,).
        alpha: weight of each level, (levels,).
        beta, in_channels, classes, final_width (0 for none), macs, params, rho: scalars.
        limits: of `Form.extras`, one scalar each.
        latency: see `limits.read_latency`.
    """

    resolutions: Array
    alpha: Array
    beta: Array
    in_channels: Array
    classes: Array
    final_width: Array
    macs: Array
    params: Array
    rho: Array
    limits: Array
    latency: Array


def form_of(problem: Problem) -> Form:
    """The static part of a problem."""
    return Form(
        block=problem.block,
        strides=problem.strides,
        level_ends=problem.level_ends,
        stem_stride=problem.stem_stride,
        has_final=problem.final_width is not None,
        monotone=problem.monotone,
        convention=problem.convention,
        extras=problem.extras,
    )


def data_of(problem: Problem) -> Data:
    """The numeric part of a problem, NumPy float64."""
    values = (
        problem.resolutions,
        problem.level_weights,
        problem.beta,
        problem.in_channels,
        problem.classes,
        problem.final_width or 0,
        problem.macs,
        problem.params,
        problem.rho,
        [getattr(problem, name) for name in problem.extras],
        read_latency(problem.latency_table),
    )
    return Data(*(np.asarray(value, dtype=np.float64) for value in values))


def point_of(arch: Architecture) -> Point:
    """The integer point of an architecture, as float64 arrays."""
    stages = [(s.width, s.inner, s.kernel, s.depth) for s in arch.stages]
    return Point(np.float64(arch.stem.width), *np.array(stages, dtype=np.float64).T)


def evaluate(form: Form, data: Data, point: Point, mode: Mode = "exact") -> Numbers:
    """All numbers of the program at a point or a batch of points.

    Args:
        form, data: of the problem.
        point: integral where ``mode`` is ``exact``; counts are then exact up to 2^53.
        mode: see `arch.layers`.
    """
    xp = namespace(point.width, data.macs)
    c_in = xp.concatenate([xp.asarray(point.stem)[..., None], point.width[..., :-1]], axis=-1)
    resolution = data.resolutions
    stages = stage_rows(
        form.block,
        c_in=c_in,
        width=point.width,
        inner=point.inner,
        kernel=point.kernel,
        depth=point.depth,
        stride=np.array(form.strides),
        groups=1,
        r_in=resolution[:-1],
        r_out=resolution[1:],
        mode=mode,
    )
    stem = stem_rows(
        data.in_channels,
        point.stem,
        3,
        form.stem_stride,
        resolution[0] * form.stem_stride,
        resolution[0],
    )
    last_width = point.width[..., -1]
    final_width = data.final_width if form.has_final else None
    head = head_rows(last_width, final_width, data.classes, resolution[-1])

    params_of, macs_of = COUNTING[form.convention]
    params = params_of(stages).sum(-1) + params_of(stem) + params_of(head)
    macs = macs_of(stages).sum(-1) + macs_of(stem) + macs_of(head)

    layers, sum_log = _at_level_ends(form, stages, stem, head, xp)
    level_width = _level_widths(form, data, point, xp)
    level_resolution = xp.stack([resolution[end] for end in form.level_ends])
    entropies = entropy_per_level(level_resolution, level_width, sum_log)
    if form.convention == "tinynas":
        entropies = 0.5 * entropies
        skip = form.block not in MBCONV_BLOCKS
        penalty = data.beta * tinynas_depth_penalty(point.depth, skip)
    else:
        penalty = data.beta * depth_penalty(point.depth)
    rho_per_level = effectiveness(layers, sum_log)
    entropy = (entropies * data.alpha).sum(-1)
    is_tinynas = form.convention == "tinynas"
    return Numbers(
        objective=entropy - penalty,
        entropy=entropy,
        entropy_per_level=entropies,
        penalty=penalty,
        rho_per_level=rho_per_level,
        rho=rho_per_level.max(-1) if is_tinynas else rho_per_level[..., -1],
        params=params,
        macs=macs,
        extra=tuple(
            measure(name, Sections(stem, stages, head), point.width, data.latency)
            for name in form.extras
        ),
    )


def spent(data: Data, numbers: Numbers) -> Array:
    """Share of each limit that is used, macs, params, rho, then the extras: (..., 3 + extras)."""
    xp = namespace(numbers.macs, data.macs)
    shares = [numbers.macs / data.macs, numbers.params / data.params, numbers.rho / data.rho]
    shares += [
        extra.max(-1) / limit for extra, limit in zip(numbers.extra, data.limits, strict=True)
    ]
    return xp.stack(xp.broadcast_arrays(*shares), axis=-1)


REAL_SLACK = 1e-12
"""Relative excess over a limit on a real number that its rounding may account for."""


def within_limits(form: Form, data: Data, numbers: Numbers) -> Array:
    """Whether every limit is met, shape (...): counts exactly, real numbers to `REAL_SLACK`."""
    slack = 1.0 + REAL_SLACK
    met = (numbers.macs <= data.macs) & (numbers.params <= data.params)
    met = met & (numbers.rho <= data.rho * slack)
    for name, extra, limit in zip(form.extras, numbers.extra, data.limits, strict=True):
        met = met & (extra <= limit * (1.0 if name in COUNTS else slack)).all(-1)
    return met


COUNTING = {
    "paper": (cost.params, cost.macs),
    "tinynas": (cost.tinynas_params, cost.tinynas_flops),
}
"""Convention -> the functions of rows that count params and MACs."""


def _at_level_ends(
    form: Form, stages: list[Row], stem: list[Row], head: list[Row], xp: ModuleType
) -> tuple[Array, Array]:
    """Layers N and sum of log fan-ins S up to each level's end, shape (..., levels)."""
    sums = []
    for stem_part, stage_part, head_part in zip(
        main_path(stem, xp), main_path(stages, xp), main_path(head, xp), strict=True
    ):
        # The stem counts one layer of a fixed fan-in, so its part is a scalar for any batch.
        running = stem_part + xp.cumsum(stage_part, axis=-1)
        parts = [
            running[..., end - 1] if end else stem_part + 0.0 * running[..., 0]
            for end in form.level_ends
        ]
        parts[-1] = parts[-1] + head_part
        sums.append(xp.stack(parts, axis=-1))
    return sums[0], sums[1]


def _level_widths(form: Form, data: Data, point: Point, xp: ModuleType) -> Array:
    widths = [point.width[..., end - 1] if end else point.stem for end in form.level_ends]
    if form.has_final:
        widths[-1] = 0.0 * widths[-1] + data.final_width
    return xp.stack(widths, axis=-1)
