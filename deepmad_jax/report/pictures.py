"""The pictures of a run: network, entropy and budgets, solver convergence, training curves.

Each comes as PNG (light) and as SVG for the report. A picture without anything to show is left out.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from deepmad_jax.arch import Architecture
from deepmad_jax.report import canvas, network, tables
from deepmad_jax.report.read import Metrics, Run, finite, mapping, numbers
from deepmad_jax.report.sections import level_resolutions
from deepmad_jax.report.segmentation import confusion_figure

WIDTH_PT, HEIGHT_PT = 800.0, 244.0
LEFT, RIGHT, BOTTOM, TOP, BETWEEN = 48.0, 14.0, 54.0, 32.0, 62.0
LEAST_VIOLATION = 1e-16
BLUE, ORANGE = canvas.LEVEL_COLORS[1], canvas.LEVEL_COLORS[5]

Panel = tuple[str, Callable[[Axes], None]]
"""A title and what draws under it."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture. ``label`` says what it shows; ``svg`` is an element for an HTML page."""

    label: str
    png: bytes
    svg: str


def draw(run: Run) -> dict[str, Picture]:
    """The pictures of a run by name: network; with data, entropy, convergence and training."""
    design = run.design or {}
    kinds: dict[str, tuple[str, Callable[[], Figure | None]]] = {
        "network": ("The network, to scale", lambda: network.draw(run.arch)),
        "entropy": (
            "Entropy of every level and the share of the budgets used",
            lambda: entropy_figure(run.arch, design),
        ),
        "convergence": ("How the solver converged", lambda: convergence_figure(design)),
        "training": ("Training curves", lambda: training_figure(run.metrics)),
        "confusion": ("Which classes are taken for which", lambda: confusion_figure(run.pixels)),
    }
    pictures = {}
    for name, (label, make) in kinds.items():
        with canvas.style(name):
            figure = make()
            if figure is not None:
                png, svg = canvas.to_png(figure), canvas.to_svg(figure, name, label)
                pictures[name] = Picture(label, png, svg)
    return pictures


def entropy_figure(arch: Architecture, design: dict[str, Any]) -> Figure | None:
    """Entropy per level, plain and weighted, and budgets used."""
    entropies = numbers(design.get("entropy_per_level"))
    weights = tables.level_weights(design)
    sizes = level_resolutions(arch)
    names = [f"{size} px" for size in sizes]
    if len(sizes) != len(entropies):
        names = [str(i) for i in range(1, len(entropies) + 1)]
    use = {
        tables.BUDGETS[key]: (used, budget)
        for key, (used, budget) in tables.budget_use(arch, design).items()
        if used is not None and budget
    }
    panels: list[Panel] = []
    if entropies:
        panels.append(("Entropy by level, nats", lambda axes: _levels(axes, entropies, names)))
    if weights:
        weighted = [w * h for w, h in zip(weights, entropies, strict=True)]
        scaled = [f"{name}\n× {w:g}" for name, w in zip(names, weights, strict=True)]
        panels.append(("Weighted entropy, nats", lambda axes: _levels(axes, weighted, scaled)))
    if use:
        panels.append(("Budgets used, %", lambda axes: _budgets(axes, use)))
    return _figure(panels)


def convergence_figure(design: dict[str, Any]) -> Figure | None:
    """Relaxed objective and violation by outer iteration, then the integer search."""
    history = mapping(design.get("convergence"))
    objective, violation = numbers(history.get("objective")), numbers(history.get("violation"))
    search = numbers(history.get("search", design.get("search")))
    lines = {
        "relaxed": finite(design.get("relaxed_objective")),
        "bound": finite(design.get("upper_bound")),
    }
    panels: list[Panel] = []
    if objective:
        title = "Relaxed objective, nats"
        panels.append((title, lambda axes: _iterations(axes, objective, "outer iteration", {})))
    if violation:
        panels.append(("Largest violation, relative", lambda axes: _violation(axes, violation)))
    if search:
        title = "Integer search: best so far, nats"
        panels.append((title, lambda axes: _iterations(axes, search, "accepted step", lines)))
    return _figure(panels)


def training_figure(metrics: Metrics) -> Figure | None:
    """Loss, top-1 or mIoU, and learning rate by step."""
    loss = _series(metrics.train, "loss")
    # Logged as fractions.
    train, evaluation = (
        (steps, [100 * value for value in values])
        for steps, values in (_series(metrics.train, "top1"), _series(metrics.evaluation, "top1"))
    )
    rate = _series(metrics.train, "learning_rate")
    panels: list[Panel] = []
    if loss[0]:
        panels.append(("Training loss, nats", lambda axes: _steps(axes, {"": (*loss, BLUE)})))
    if train[0] or evaluation[0]:
        curves = {"train": (*train, BLUE), "eval": (*evaluation, ORANGE)}
        panels.append(("Top-1, %", lambda axes: _steps(axes, curves)))
    steps, miou = _series(metrics.evaluation, "miou")
    if steps:
        curve = (steps, [100 * value for value in miou], ORANGE)
        panels.append(("mIoU, %", lambda axes: _steps(axes, {"eval": curve})))
    if rate[0]:
        panels.append(("Learning rate", lambda axes: _steps(axes, {"": (*rate, BLUE)})))
    return _figure(panels)


def _figure(panels: list[Panel]) -> Figure | None:
    """The panels side by side, equally wide; None for no panels."""
    if not panels:
        return None
    fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
    room = WIDTH_PT - LEFT - RIGHT - BETWEEN * (len(panels) - 1)
    width = min(room / len(panels), 360)
    for i, (title, draw_panel) in enumerate(panels):
        box = (LEFT + i * (width + BETWEEN), BOTTOM, width, HEIGHT_PT - BOTTOM - TOP)
        draw_panel(canvas.panel(fig, box, title))
    return fig


def _levels(axes: Axes, values: list[float | int], names: list[str]) -> None:
    places = range(len(values))
    colors = [canvas.LEVEL_COLORS[i % len(canvas.LEVEL_COLORS)] for i in places]
    axes.bar(places, values, width=0.72, color=colors)
    size = 8 if len(values) <= 5 else 6.5
    for i, value in enumerate(values):
        axes.annotate(
            f"{value:,.0f}", (i, max(value, 0)), (0, 2), textcoords="offset points", ha="center",
            fontsize=size,
        )  # fmt: skip
    axes.set_xticks(places, names)
    axes.tick_params(axis="x", labelsize=size)
    axes.set_xlabel("level", fontsize=8)
    axes.margins(y=0.12)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))


def _budgets(axes: Axes, use: dict[str, tuple[Any, Any]]) -> None:
    names = list(use)
    shares = [100 * used / budget for used, budget in use.values()]
    places = range(len(names))
    axes.barh(
        places, shares, height=0.5, color=[ORANGE if s > 100 + 1e-9 else BLUE for s in shares]
    )
    axes.axvline(100, color=canvas.INK, linewidth=1.2)
    for i, (share, (used, budget)) in enumerate(zip(shares, use.values(), strict=True)):
        axes.annotate(
            f"{share:.2f} %: {_short(used)} of {_short(budget)}", (0, i - 0.25), (0, 2),
            textcoords="offset points", fontsize=8, va="bottom",
        )  # fmt: skip
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", labelsize=9)
    axes.set_ylim(len(tables.BUDGETS) - 0.5, -0.8)
    axes.set_xlim(0, max(105.0, 1.05 * max(shares)))
    axes.grid(visible=False)
    axes.set_xlabel("line: the budget", fontsize=8)


def _iterations(
    axes: Axes, values: list[float | int], what: str, lines: dict[str, float | int | None]
) -> None:
    marker = "o" if len(values) <= 40 else ""
    axes.plot(range(1, len(values) + 1), values, color=BLUE, marker=marker, markersize=3.5)
    notes = []
    for (name, value), (dashes, pattern) in zip(
        lines.items(), {"dashed": "--", "dotted": ":"}.items(), strict=False
    ):
        if value is not None:
            axes.axhline(value, color=ORANGE, linewidth=1.2, linestyle=pattern)
            # Said below, not beside the line: two lines may lie close together.
            notes.append(f"{dashes}: {name} {value:,.2f}")
    axes.annotate(
        f"{values[-1]:,.2f}", (len(values), values[-1]), (0, -5), textcoords="offset points",
        ha="right", va="top", fontsize=8,
    )  # fmt: skip
    axes.margins(y=0.15)
    _count_axis(axes, "\n".join(filter(None, (what, "; ".join(notes)))))


def _violation(axes: Axes, values: list[float | int]) -> None:
    drawn = [max(value, LEAST_VIOLATION) for value in values]
    axes.plot(range(1, len(values) + 1), drawn, color=BLUE, marker="o", markersize=3.5)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    axes.yaxis.set_minor_locator(NullLocator())
    floor = f" (none: drawn at {LEAST_VIOLATION:.0e})" if min(values) < LEAST_VIOLATION else ""
    _count_axis(axes, "outer iteration" + floor, shorten=False)


def _count_axis(axes: Axes, what: str, shorten: bool = True) -> None:
    axes.set_xlabel(what, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if shorten:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))


def _steps(axes: Axes, curves: dict[str, tuple[list[float], list[float], str]]) -> None:
    for name, (steps, values, color) in curves.items():
        if steps:
            marker = "o" if len(steps) <= 30 else ""
            axes.plot(steps, values, color=color, marker=marker, markersize=3.5, label=name)
    if len([name for name, (steps, _, _) in curves.items() if name and steps]):
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_xlabel("step", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.yaxis.set_major_formatter(FuncFormatter(_short))


def _series(entries: tuple[dict[str, Any], ...], key: str) -> tuple[list[float], list[float]]:
    """Steps and finite values of a metric; lines without it are passed over."""
    pairs = [(float(e["step"]), finite(e.get(key))) for e in entries]
    kept = [(step, float(value)) for step, value in pairs if value is not None]
    return [step for step, _ in kept], [value for _, value in kept]


def _short(value: float, _: Any = None) -> str:
    """A number in at most about six characters: 64.1k, 1.82G, 0.002.

    >>> [_short(v) for v in (64095.74, 1.82e9, 11672112, 0.3, 0, 12)]
    ['64.096k', '1.82G', '11.672M', '0.3', '0', '12']
    """
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.5g}{unit}"
    return f"{value:.4g}" if math.isfinite(value) else "-"
