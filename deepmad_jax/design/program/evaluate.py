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
from deepmad_jax.arch.rows import Oblong, sides_of
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.arch.stages import MBCONV_BLOCKS, Stage, Stem
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
        width, inner, kernel, depth: per stage, shape (..., S). Where a stage attends, ``kernel``
            is its number of heads; of clips it is the pixels under a kernel over its frames.
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
        entropy_per_level: (..., S + 1), those of `Data.level_ends`.
        penalty: beta Q.
        rho_per_level: N / wbar of the layers up to each level's end, (..., S + 1).
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

    Attributes:
        blocks: the kinds of block that stand in it, each once.
        stages: how many.
        stem: kind of stem, ``conv`` or ``patch``.
        positions, head_norm, has_final: whether it has these.
        of_clips: whether maps and kernels have frames.
        convention: as in the problem.
        extras: the further limits that are set (see `limits.MEASURES`).
    """

    blocks: tuple[str, ...]
    stages: int
    stem: str
    positions: bool
    head_norm: bool
    has_final: bool
    of_clips: bool
    convention: str
    extras: tuple[str, ...]


class Data(NamedTuple):
    """What may change between problems of one form: arrays of float64.

    Attributes:
        resolutions: pixels down and across of the image, after the stem and after each stage,
            (2, S + 2); of clips frames too, (3, S + 2).
        strides: of the stem and of each stage, (S + 1,); of clips the greater, see
            `Problem.halvings`.
        is_block: 1 where a stage is of a kind, for each of `Form.blocks`, (kinds, S).
        stem_kernel, head_width: pixels a side (of clips, over its frames) and channels, scalars.
        level_ends: see `Problem.level_ends`, int64, (S + 1,); the first stands as often as there
            are fewer levels.
        alpha: weight of each of these, 0 where it is there again, (S + 1,).
        beta: weight of the depth penalty, scalar.
        monotone: 1.0 where widths may not shrink, else 0.0.
        in_channels, classes, final_width (0 for none), macs, params, rho: scalars.
        limits: of `Form.extras`, one scalar each.
        latency: see `limits.read_latency`.
    """

    resolutions: Array
    strides: Array
    is_block: Array
    stem_kernel: Array
    head_width: Array
    level_ends: Array
    alpha: Array
    beta: Array
    monotone: Array
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
        blocks=_kinds(problem),
        stages=problem.num_stages,
        stem=problem.stem.kind,
        positions=problem.positions,
        head_norm=problem.head_norm,
        has_final=problem.final_width is not None,
        of_clips=problem.is_of_clips,
        convention=problem.convention,
        extras=problem.extras,
    )


def data_of(problem: Problem) -> Data:
    """The numeric part of a problem, NumPy float64."""
    ends = problem.level_ends
    missing = problem.num_stages + 1 - len(ends)
    values = (
        list(zip(*map(sides_of, (problem.image, *problem.resolutions)), strict=True)),
        (problem.stem.stride, *problem.halvings),
        [[block == kind for block in problem.stage_blocks] for kind in _kinds(problem)],
        _pixels_under(problem.stem) if problem.is_of_clips else problem.stem.kernel,
        problem.head_width,
        ends[:1] * missing + ends,
        (0.0,) * missing + problem.level_weights,
        problem.beta,
        problem.monotone,
        problem.in_channels,
        problem.classes,
        problem.final_width or 0,
        problem.macs,
        problem.params,
        problem.rho,
        [getattr(problem, name) for name in problem.extras],
    )
    arrays = [np.asarray(value, dtype=np.float64) for value in values]
    data = Data(*arrays, read_latency(problem.latency_table))  # type: ignore[call-arg]
    return data._replace(level_ends=data.level_ends.astype(np.int64))


def _kinds(problem: Problem) -> tuple[str, ...]:
    return tuple(sorted(set(problem.stage_blocks)))  # in whichever order they stand


def point_of(arch: Architecture) -> Point:
    """The integer point of an architecture, as float64 arrays."""
    stages = [(s.width, s.inner, _choice_of(arch, s), s.depth) for s in arch.stages]
    return Point(np.float64(arch.stem.width), *np.array(stages, dtype=np.float64).T)


def _choice_of(arch: Architecture, stage: Stage) -> int:
    """Where a stage chooses a kernel or a number of heads, what it has chosen."""
    if stage.block == "attention":
        return stage.heads
    return _pixels_under(stage) if arch.frames else stage.kernel


def _pixels_under(part: Stem | Stage) -> int:
    return part.kernel_t * part.kernel**2


def evaluate(form: Form, data: Data, point: Point, mode: Mode = "exact") -> Numbers:
    """All numbers of the program at a point or a batch of points.

    Args:
        form, data: of the problem.
        point: integral where ``mode`` is ``exact``; counts are then exact up to 2^53.
        mode: see `arch.layers`.
    """
    xp = namespace(point.width, data.macs)
    c_in = xp.concatenate([xp.asarray(point.stem)[..., None], point.width[..., :-1]], axis=-1)
    resolution = Oblong(*(data.resolutions[i] for i in range(3 if form.of_clips else 2)))
    # Of clips only how many pixels it has is known of a kernel, and only that is asked for.
    kernel, stem_kernel = (
        Oblong(size, 1) if form.of_clips else size for size in (point.kernel, data.stem_kernel)
    )
    stages: list[Row] = []
    for kind, is_kind in zip(form.blocks, data.is_block, strict=True):
        rows = stage_rows(
            kind,
            c_in=c_in,
            width=point.width,
            inner=point.inner,
            kernel=kernel,
            depth=point.depth,
            stride=data.strides[1:],
            groups=1,
            r_in=resolution[1:-1],
            r_out=resolution[2:],
            mode=mode,
            heads=point.kernel,
            head_width=data.head_width,
        )
        # Of other kinds a stage has none.
        stages += rows if len(form.blocks) == 1 else _times(rows, is_kind)
    stem = stem_rows(
        data.in_channels,
        point.stem,
        stem_kernel,
        data.strides[0],
        resolution[0],
        resolution[1],
        form.stem,
        positions=form.positions,
    )
    last_width = point.width[..., -1]
    final_width = data.final_width if form.has_final else None
    head = head_rows(last_width, final_width, data.classes, resolution[-1], norm=form.head_norm)

    params_of, macs_of = COUNTING[form.convention]
    params = params_of(stages).sum(-1) + params_of(stem) + params_of(head)
    macs = macs_of(stages).sum(-1) + macs_of(stem) + macs_of(head)

    layers, sum_log = _at_level_ends(data, stages, stem, head, xp)
    level_width = _level_widths(form, data, point, xp)
    entropies = entropy_per_level(resolution[1:][data.level_ends], level_width, sum_log)
    if form.convention == "tinynas":
        entropies = 0.5 * entropies
        skip = form.blocks[0] not in MBCONV_BLOCKS
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
    return xp.stack(xp.broadcast_arrays(*shares_spent(data, numbers)), axis=-1)


def shares_spent(data: Data, numbers: Numbers) -> list[Array]:
    """The same, one by one, each (...)."""
    shares = [numbers.macs / data.macs, numbers.params / data.params, numbers.rho / data.rho]
    limits = zip(numbers.extra, data.limits, strict=True)
    return shares + [extra.max(-1) / limit for extra, limit in limits]


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


def _times(rows: list[Row], factor: Array) -> list[Row]:
    return [dataclasses.replace(row, repeat=row.repeat * factor) for row in rows]


def _at_level_ends(
    data: Data, stages: list[Row], stem: list[Row], head: list[Row], xp: ModuleType
) -> tuple[Array, Array]:
    """Layers N and sum of log fan-ins S up to each level's end, shape (..., levels)."""
    sums = []
    for stem_part, stage_part, head_part in zip(
        main_path(stem, xp), main_path(stages, xp), main_path(head, xp), strict=True
    ):
        # The stem counts one layer of a fixed fan-in, so its part is a scalar for any batch.
        before = xp.zeros_like(stage_part[..., :1])
        running = stem_part + xp.cumsum(xp.concatenate([before, stage_part], axis=-1), axis=-1)
        levels, head_part = running[..., data.level_ends], xp.asarray(head_part)[..., None]
        sums.append(xp.concatenate([levels[..., :-1], levels[..., -1:] + head_part], axis=-1))
    return sums[0], sums[1]


def _level_widths(form: Form, data: Data, point: Point, xp: ModuleType) -> Array:
    widths = xp.concatenate([xp.asarray(point.stem)[..., None], point.width], axis=-1)
    widths = widths[..., data.level_ends]
    if form.has_final:
        last = 0.0 * widths[..., -1:] + data.final_width
        widths = xp.concatenate([widths[..., :-1], last], axis=-1)
    return widths
