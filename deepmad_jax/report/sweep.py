"""The pictures of a sweep: what a budget buys, and how rho trades depth for width.

`frontier.png` shows entropy against parameters and MACs with the designs that no other beats;
`rho.png` shows entropy, depth and width against rho, as the paper's Figures 2 and 5 do (their
accuracy part needs training).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from deepmad_jax.report import canvas

WIDTH_PT, HEIGHT_PT = 800.0, 300.0
BLUE, ORANGE = canvas.LEVEL_COLORS[1], canvas.LEVEL_COLORS[5]

Row = dict[str, Any]


def draw_sweep(rows: Sequence[Row], directory: Path) -> list[Path]:
    """Writes ``frontier.png`` and ``rho.png``; nothing where no budget could be met."""
    met = [row for row in rows if row["feasible"]]
    if not met:
        return []
    paths = []
    for name, draw in (("frontier", frontier_figure), ("rho", rho_figure)):
        with canvas.style(name):
            path = directory / f"{name}.png"
            path.write_bytes(canvas.to_png(draw(met)))
            paths.append(path)
    return paths


def frontier_figure(rows: Sequence[Row]) -> Figure:
    """Objective against params and against MACs; the line joins what no cheaper design reaches."""
    fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
    for i, (cost, label) in enumerate((("params", "parameters"), ("macs", "MACs"))):
        axes = canvas.panel(fig, _box(i, 2), f"Objective against {label}, nats")
        axes.scatter([r[cost] for r in rows], [r["objective"] for r in rows], s=9, color=BLUE)
        best = frontier(rows, cost)
        axes.plot([r[cost] for r in best], [r["objective"] for r in best], color=ORANGE, lw=1.4)
        axes.set_xlabel(label)
        _engineering(axes)
    return fig


def rho_figure(rows: Sequence[Row]) -> Figure:
    """Last-level entropy, layers and mean width against rho."""
    fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
    panels = (
        ("last_level_entropy", "Last-level entropy, nats"),
        ("layers", "Depth, main-path layers"),
        ("mean_width", "Width, geometric mean fan-in"),
    )
    for i, (column, title) in enumerate(panels):
        axes = canvas.panel(fig, _box(i, 3), title)
        axes.scatter([r["rho"] for r in rows], [r[column] for r in rows], s=9, color=BLUE)
        axes.set_xlabel("rho, depth over average width")
        if column != "layers":
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return fig


def frontier(rows: Sequence[Row], cost: str) -> list[Row]:
    """The rows whose objective no row of equal or lower ``cost`` reaches, by rising cost."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda r: (r[cost], -r["objective"])):
        if not best or row["objective"] > best[-1]["objective"]:
            best.append(row)
    return best


def _box(index: int, count: int) -> tuple[float, float, float, float]:
    left, right, bottom, top, between = 52.0, 16.0, 54.0, 40.0, 62.0
    width = (WIDTH_PT - left - right - (count - 1) * between) / count
    return left + index * (width + between), bottom, width, HEIGHT_PT - bottom - top


def _engineering(axes: Any) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
