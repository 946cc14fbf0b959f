"""The picture of a network, to scale.

Top: one bar a block, in order. Its height is the block's width in channels, the thin bar in
front its inner width, both on one linear axis. Bars of all stages are equally thick, so a stage's
length is its depth, as long as the label column below does not need more room.

Middle: each stage's output as a box of channels x resolution x resolution, one linear scale for
all channels and one for all pixels.

Bottom: the numbers. The classifier is not drawn: it has neither resolution nor blocks.
"""

import dataclasses
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepmad_jax.arch import Architecture
from deepmad_jax.arch.rows import Number, along_axes
from deepmad_jax.report import canvas
from deepmad_jax.report.sections import Section, describe, px_of, sections

# The sheet, in points.
LEFT, RIGHT, TOP = 66.0, 14.0, 34.0
BARS_PT, BOXES_PT, LINE_PT = 170.0, 84.0, 14.0
COLUMN_PT = 68.0  # least width of a label column: "1,208" and "bottleneck" at 9 points fit
WIDTH_PT = 800.0
MOST_PER_BAR_PT = 24.0

Polygon = Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class _Column:
    """Where a section stands: its centre, and left edge and pitch of its bars, in points."""

    section: Section
    centre: float
    start: float
    pitch: float

    @property
    def color(self) -> str:
        return canvas.LEVEL_COLORS[(self.section.level or 0) % len(canvas.LEVEL_COLORS)]

    @property
    def bars(self) -> int:
        return self.section.depth or 1


def draw(arch: Architecture) -> Figure:
    """The figure; make it and write it under `canvas.style`."""
    every = sections(arch)
    drawn = [section for section in every if section.level is not None]
    lines = _label_lines(drawn, every)
    width_pt = max(WIDTH_PT, LEFT + RIGHT + COLUMN_PT * len(drawn))
    height_pt = TOP + BARS_PT + 16 + BOXES_PT + 24 + LINE_PT * len(lines) + 30
    fig = canvas.figure(width_pt, height_pt)
    axes = canvas.sheet(fig)
    columns = _columns(drawn, width_pt - LEFT - RIGHT)

    axes.text(14, height_pt - 22, canvas.drawable(arch.name, 60), fontsize=13, fontweight="bold")
    axes.text(
        width_pt - RIGHT,
        height_pt - 21,
        describe(arch).replace(" x ", " × "),
        ha="right",
        color=canvas.MUTED,
    )
    bars_bottom = height_pt - TOP - BARS_PT
    _draw_bars(axes, columns, bars_bottom, width_pt)
    boxes_bottom = bars_bottom - 16 - BOXES_PT
    _draw_boxes(axes, columns, boxes_bottom)
    labels_top = boxes_bottom - 24
    _draw_labels(axes, columns, lines, labels_top)
    axes.text(
        14,
        12,
        "Linear scales. Bars: one a block, height = width in channels; thin bar in front = inner "
        "channels. Boxes: a stage's output, channels × pixels × pixels"
        f"{' of one frame' if arch.frames else ''}.",
        fontsize=7.5,
        color=canvas.MUTED,
    )
    return fig


def _columns(drawn: list[Section], room_pt: float) -> list[_Column]:
    """Shares the room out so that every column holds its label and all bars are equally thick."""
    depths = [section.depth or 1 for section in drawn]
    pitch = MOST_PER_BAR_PT
    while sum(max(COLUMN_PT, d * pitch + 12) for d in depths) > room_pt and pitch > 0.25:
        pitch *= 0.98
    widths = [max(COLUMN_PT, d * pitch + 12) for d in depths]
    slack = max(room_pt - sum(widths), 0.0) / len(widths)
    columns, x = [], LEFT
    for section, depth, width in zip(drawn, depths, widths, strict=True):
        centre = x + (width + slack) / 2
        columns.append(_Column(section, centre, centre - depth * pitch / 2, pitch))
        x += width + slack
    return columns


def _draw_bars(axes: Axes, columns: list[_Column], bottom: float, width_pt: float) -> None:
    most = max(max(c.section.width, c.section.inner or 0) for c in columns)
    scale = (BARS_PT - 12) / most
    ticks = [t for t in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, most) if t <= most]
    for tick in ticks:
        y = bottom + tick * scale
        axes.plot([LEFT, width_pt - RIGHT], [y, y], color=canvas.GRID, linewidth=0.8, zorder=0)
        axes.text(LEFT - 6, y, f"{tick:,.0f}", ha="right", va="center", color=canvas.MUTED)
    axes.text(
        16, bottom + BARS_PT / 2, "channels", rotation=90, ha="center", va="center",
        color=canvas.MUTED,
    )  # fmt: skip
    outer, inner, colors = [], [], []
    for column in columns:
        for i in range(column.bars):
            x = column.start + (i + 0.5) * column.pitch
            outer.append(_bar(x, bottom, 0.84 * column.pitch, column.section.width * scale))
            colors.append(column.color)
            if column.section.inner is not None:
                inner.append(_bar(x, bottom, 0.3 * column.pitch, column.section.inner * scale))
    # Snapped to pixels, the gaps between thin bars would come out uneven.
    axes.add_collection(
        PolyCollection(outer, facecolors=colors, edgecolors="none", snap=False, zorder=2)
    )
    axes.add_collection(
        PolyCollection(
            inner, facecolors=canvas.INK, alpha=0.6, edgecolors="none", snap=False, zorder=3
        )
    )


def _draw_boxes(axes: Axes, columns: list[_Column], bottom: float) -> None:
    """Boxes in oblique projection: the receding side at 0.35 of its length and 45 degrees."""
    slant = 0.35 * 2**-0.5
    pixels = (BOXES_PT - 4) / (1 + slant) / max(c.section.height_px for c in columns)
    channels = min(
        (COLUMN_PT - 10 - slant * pixels * c.section.height_px) / c.section.width for c in columns
    )
    polygons, colors = [], []
    for column in columns:
        height = column.section.height_px * pixels
        length, back = column.section.width * channels, slant * height
        left = column.centre - (length + back) / 2
        right, top = left + length, bottom + height
        polygons += [
            _bar(left + length / 2, bottom, length, height),
            [(left, top), (right, top), (right + back, top + back), (left + back, top + back)],
            [
                (right, bottom),
                (right + back, bottom + back),
                (right + back, top + back),
                (right, top),
            ],
        ]
        color = column.color
        colors += [color, canvas.mix(color, "#ffffff", 0.35), canvas.mix(color, "#000000", 0.25)]
    # The thin edge keeps a map of one pixel visible.
    axes.add_collection(
        PolyCollection(polygons, facecolors=colors, edgecolors=colors, linewidth=0.4)
    )
    axes.text(
        LEFT - 6, bottom + BOXES_PT / 2, "output", ha="right", va="center", color=canvas.MUTED
    )


def _label_lines(drawn: list[Section], every: list[Section]) -> list[tuple[str, list[str]]]:
    params, macs = sum(s.params for s in every), sum(s.macs for s in every)
    lines = [
        ("", [s.name for s in drawn]),
        ("pixels", [_times(s.resolution_px) for s in drawn]),
        ("width", [f"{s.width:,}" for s in drawn]),
        ("inner", ["-" if s.inner is None else f"{s.inner:,}" for s in drawn]),
        ("kernel", ["-" if s.kernel is None else _times(s.kernel) for s in drawn]),
        ("stride", [px_of(s.stride).replace("x", " × ") for s in drawn]),
        ("blocks", ["-" if s.depth is None else f"{s.depth}" for s in drawn]),
        ("params", [f"{100 * s.params / params:.1f} %" for s in drawn]),
        ("MACs", [f"{100 * s.macs / macs:.1f} %" for s in drawn]),
    ]
    kinds = {s.kind for s in drawn if s.inner is not None}
    if len(kinds) > 1:
        lines.insert(1, ("block", [s.kind for s in drawn]))
    return lines


def _times(size: Number) -> str:
    return " × ".join(map(str, along_axes(size)))


def _draw_labels(
    axes: Axes, columns: list[_Column], lines: list[tuple[str, list[str]]], top: float
) -> None:
    for i, (caption, cells) in enumerate(lines):
        y = top - i * LINE_PT
        axes.text(LEFT - 6, y, caption, ha="right", color=canvas.MUTED)
        for column, cell in zip(columns, cells, strict=True):
            weight = "bold" if i == 0 else "normal"
            axes.text(column.centre, y, cell, ha="center", fontweight=weight)


def _bar(centre: float, bottom: float, width: float, height: float) -> Polygon:
    left, right, top = centre - width / 2, centre + width / 2, bottom + height
    return [(left, bottom), (right, bottom), (right, top), (left, top)]
