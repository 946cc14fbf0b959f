"""Which rows a network of a space can have, at a grid of channel counts: what there is to time.

The layer table is asked for every stage and kernel with a number of its own in place of each
channel count, by which the counts of a row are known again. Left out are points that no network
within the budgets needs: more MACs than all of it may have, or an inner width that no ratio of the
space allows.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

from deepmad_jax.arch.cost import layer_macs
from deepmad_jax.arch.layers import Layer, Row, head_rows, se_width, stage_rows, stem_rows
from deepmad_jax.arch.rows import Oblong
from deepmad_jax.config import MeasureConfig
from deepmad_jax.design.program.latency_grid import GRID_KINDS, layer_at
from deepmad_jax.design.program.limits import timed_as
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InvalidConfig

# Primes beyond any width, which stand for the channels of a block, of its squeeze and its heads.
_C_IN, _WIDTH, _INNER, _HEADS = 1_000_003, 1_000_033, 1_000_037, 1_000_039
_SQUEEZED = se_width(_INNER)

_SQUEEZE_RATIO = (0.15, 1.0)
"""Least and greatest squeeze width over inner width: a quarter, down to eights, 8 at least."""


class Point(NamedTuple):
    """A row to time.

    Attributes:
        kind, kernel, stride, pixels, c_in, c_out: see `latency_grid`.
        function: of the activation that follows, or None.
        bias: the conv has one, and no BatchNorm.
        scaled: the sum is of what a layer scale made.
    """

    kind: str
    kernel: int
    stride: int
    pixels: int
    c_in: int
    c_out: int
    function: str | None = None
    bias: bool = False
    scaled: bool = False

    @property
    def row(self) -> tuple[str, int, int, int, int, int]:
        """What tells it from others in a file."""
        return self[:6]


class _Range(NamedTuple):
    low: int
    high: int
    unit: int


def points_of(problem: Problem, settings: MeasureConfig) -> list[Point]:
    """Every point to time, small ones first in each kind of row.

    Raises:
        InvalidConfig: the space has clips, maps that are not square, or rows of MACs that nothing
            here times.
    """
    if problem.is_of_clips:
        raise InvalidConfig(
            f"design.frames is {problem.frames}, but rows are timed on maps without frames: set it "
            "to 0."
        )
    if isinstance(problem.image, Oblong):
        raise InvalidConfig(
            f"The images are {problem.resolution} x {problem.resolution_w} pixels, but rows are "
            "timed on square maps: set design.resolution_w to 0."
        )
    found: dict[tuple[str, int, int, int, int, int], Point] = {}
    for rows, ranges in _sections(problem):
        for row, like in _timed(rows):
            for point in _points(row, like, ranges, problem, settings):
                found.setdefault(point.row, point)
    return list(found.values())


def _sections(problem: Problem) -> Iterable[tuple[list[Row], dict[int, _Range]]]:
    """Rows of the stem, of every stage by kernel, and of the head, with what their numbers are.

    Under 0 stands the range of all channel counts of the space.
    """
    sizes, unit = problem.resolutions, problem.multiple_of
    before = _Range(problem.stem_width[0], problem.stem_width[-1], unit)
    most_width = max(problem.stem_width[-1], *problem.per_stage("max_width"))
    greatest = _Range(1, int(most_width * max(problem.inner_ratio[-1], 1.0)), unit)
    stem = stem_rows(
        problem.in_channels,
        _WIDTH,
        problem.stem.kernel,
        problem.stem.stride,
        problem.resolution,
        sizes[0],
        problem.stem.kind,
    )
    yield stem, {_WIDTH: before, 0: greatest}
    lows, highs = problem.per_stage("min_width"), problem.per_stage("max_width")
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        width = _Range(low, high, unit)
        least, most = problem.inner_ratio[0] * low, problem.inner_ratio[-1] * high
        inner = _Range(max(int(least), unit), int(most), unit)
        squeezed = _Range(se_width(inner.low), se_width(inner.high), unit)
        ranges = {_C_IN: before, _WIDTH: width, _INNER: inner, _SQUEEZED: squeezed, 0: greatest}
        block, head_width = problem.stage_blocks[i], problem.head_width
        for values in (head_width, 3 * head_width):  # and queries, keys and values together
            few, many = problem.heads[0] * values, problem.heads[-1] * values
            ranges[_HEADS * values] = _Range(few, many, values)
        # A shortcut may be there only where a block keeps its width, another where it does not.
        kernels = (1,) if block == "attention" else problem.kernels
        for kernel, c_in in itertools.product(kernels, (_C_IN, _WIDTH)):
            rows = stage_rows(
                block,
                c_in=c_in,
                width=_WIDTH,
                inner=_INNER,
                kernel=kernel,
                depth=2,
                stride=problem.strides[i],
                groups=1,
                r_in=sizes[i],
                r_out=sizes[i + 1],
                heads=_HEADS,
                head_width=head_width,
            )
            yield rows, ranges
        before = width
    yield (
        head_rows(_WIDTH, problem.final_width, problem.classes, sizes[-1], norm=problem.head_norm),
        {_WIDTH: before, 0: greatest},
    )


def _timed(rows: list[Row]) -> Iterable[tuple[Row, Point]]:
    """The rows that are timed, each with a point that tells what is timed with it."""
    for i, row in enumerate(rows):
        layer, kind = row.layer, timed_as(row.layer)
        if not row.repeat:
            continue
        if kind not in GRID_KINDS:
            if layer_macs(layer):
                raise InvalidConfig(
                    f"The space has layers of kind {layer.kind}, which nothing here times: choose "
                    "blocks whose layers with MACs are convs, attentions or dense."
                )
            continue
        after = [other.layer for other in rows[i + 1 : i + 3]]
        if after and after[0].kind not in ("norm", "act") and kind != "add":
            after = []
        function = next((other.function for other in after if other.kind == "act"), None)
        scaled = kind == "add" and i > 0 and rows[i - 1].layer.kind == "layer_scale"
        kernel = layer.c_out // layer.heads if kind == "attention" else layer.kernel
        place = (kind, kernel, layer.stride, layer.r_in, layer.c_in, layer.c_out)
        yield row, Point(*place, function, layer.bias, scaled)


def _points(
    row: Row,
    like: Point,
    ranges: dict[int, _Range],
    problem: Problem,
    settings: MeasureConfig,
) -> Iterable[Point]:
    layer = row.layer
    growth = settings.growth
    if layer.c_in == layer.c_out or like.kind == "attention":
        # A large kernel's time grows by the square between few points: take twice as many. Those of
        # a conv over patches, or of 1x1, stand among other pairs, whose channel counts they share.
        growth = growth**0.5 if layer.kernel > layer.stride else growth
        ins = outs = _axis(ranges, layer.c_out, settings.fine, growth)
        pairs: Iterable[tuple[int, int]] = zip(ins, ins, strict=True)
    else:
        ins, outs = (
            _axis(ranges, channels, settings.fine, growth) for channels in (layer.c_in, layer.c_out)
        )
        pairs = itertools.product(ins, outs)
    low, high = _ratios(layer, problem)
    for c_in, c_out in pairs:
        point = like._replace(c_in=c_in, c_out=c_out)
        (in_before, in_after), (out_before, out_after) = _beside(ins, c_in), _beside(outs, c_out)
        # Networks between this point and the next ones may have a ratio of the space.
        near = out_before / in_after <= high and out_after / in_before >= low
        if near and layer_macs(layer_of(point)) <= problem.macs:
            yield point


def _ratios(layer: Layer, problem: Problem) -> tuple[float, float]:
    """Least and greatest channels out over channels in, where a ratio ties the two."""
    ends, inner = (layer.c_in, layer.c_out), problem.inner_ratio
    if ends == (_WIDTH, _INNER):
        return inner[0], inner[-1]
    if ends == (_INNER, _WIDTH):
        return 1.0 / inner[-1], 1.0 / inner[0]
    if ends == (_INNER, _SQUEEZED):
        return _SQUEEZE_RATIO
    if ends == (_SQUEEZED, _INNER):
        return 1.0 / _SQUEEZE_RATIO[1], 1.0 / _SQUEEZE_RATIO[0]
    return 0.0, math.inf


def _beside(axis: list[int], channels: int) -> tuple[int, int]:
    """The counts before and after one, itself at an end."""
    i = axis.index(channels)
    return axis[max(i - 1, 0)], axis[min(i + 1, len(axis) - 1)]


def _axis(ranges: dict[int, _Range], channels: int, fine: int, growth: float) -> list[int]:
    """Channel counts to time: those of the ladder from below the range to beyond it."""
    if channels not in ranges:
        return [channels]
    low, high, unit = ranges[channels]
    ladder = _ladder(unit, fine, growth, max(most for _, most, _ in ranges.values()))
    first = max((i for i, count in enumerate(ladder) if count <= low), default=0)
    last = next((i for i, count in enumerate(ladder) if count >= high), len(ladder) - 1)
    return ladder[first : last + 1]


def _ladder(unit: int, fine: int, growth: float, greatest: int) -> list[int]:
    """The unit's multiples up to ``fine``, then by a factor, and the last: the same for all rows,
    since those of one place share their points."""
    counts, last, at = [], max(greatest // unit * unit, unit), unit
    while at < last:
        counts.append(at)
        grown = round(at * growth / unit) * unit
        at = max(at + unit, grown) if at >= fine else at + unit
    return [*counts, last]


def layer_of(point: Point) -> Layer:
    """The layer that a point stands for."""
    layer = layer_at(point.row[:4], point.c_in, point.c_out)
    return dataclasses.replace(layer, bias=point.bias)
