"""The paper's figures in its form, drawn from networks counted and trained here.

Figures 1 and 4 are accuracy against cost (`report.accuracy`), with what was trained here as stars.
Figures 2, 3 and 5 are of random networks of one budget: entropy and accuracy against rho, accuracy
against entropy by group of rho, depth and width against rho. Which networks the paper drew is not
published, so that its points cannot be drawn; what it says of them is a dashed line or the title.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from deepmad_jax.arch.zoo import ZOO, table_3
from deepmad_jax.report import canvas
from deepmad_jax.report.accuracy import FAMILIES, FIGURE_1, accuracy_figure, add_legend
from deepmad_jax.report.paper.lines import Line
from deepmad_jax.report.paper.ranking import (
    GROUPS,
    PAPERS_RHO,
    PAPERS_TAU,
    Network,
    by_group,
)
from deepmad_jax.report.pictures import Picture

WIDTH_PT, HEIGHT_PT = 800.0, 300.0
BLUE, ORANGE, GREEN = (canvas.LEVEL_COLORS[i] for i in (1, 5, 0))


def accuracy_picture(name: str, lines: Sequence[Line]) -> Picture:
    """Figure 1 or 4, with the designs of Table 3 that were trained here."""
    families = FIGURE_1 if name == "fig1" else tuple(FAMILIES)
    entries = {network: ZOO[network] for network in table_3()}
    with canvas.style(name):
        fig = accuracy_figure(entries, families)
        add_stars(fig, lines)
        return _picture(fig, name, "Published top-1 against costs counted here")


def add_stars(fig: Figure, lines: Sequence[Line]) -> None:
    """Puts what was designed and trained here into the panels of MACs and params."""
    trained = [line for line in lines if line.values and line.designed is not None]
    if not trained:
        return
    counts = [line.designed.counts for line in trained if line.designed is not None]
    top1 = [100 * sum(line.values) / len(line.values) for line in trained]
    costs = ([c.macs / 1e9 for c in counts], [c.params / 1e6 for c in counts])
    for axes, cost in zip(fig.axes, costs, strict=True):
        axes.plot(cost, top1, "*", color=ORANGE, ms=11, label="trained here", zorder=4)
    add_legend(fig)


def rho_picture(networks: Sequence[Network], what: str, name: str = "fig2") -> Picture:
    """Figure 2: entropy and accuracy against rho."""
    with canvas.style(name):
        fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
        axes = canvas.panel(fig, _box(0), "Entropy against rho, nats")
        _points(axes, networks, "entropy_nats", BLUE)
        _best_rho(axes)
        axes = canvas.panel(fig, _box(1), f"Top-1 against rho, %: {what}")
        trained = _trained(networks)
        if trained:
            _accuracies(axes, [n.rho for n in trained], trained)
            _show(axes, trained)
            _best_rho(axes)
        else:
            _not_run(axes)
        return _picture(fig, name, f"Entropy and accuracy of random networks, {what}")


def entropy_picture(networks: Sequence[Network], what: str, name: str = "fig3") -> Picture:
    """Figure 3: accuracy against entropy, a colour a group of rho, with its tau.

    Args:
        networks: of which some were trained.
        what: on what, for a reader.
        name: of the picture.
    """
    with canvas.style(name):
        fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
        box = (52.0, 54.0, 520.0, HEIGHT_PT - 94.0)
        axes = canvas.panel(fig, box, f"Top-1 against entropy, %: {what}")
        groups = by_group(networks, GROUPS)[:-1]
        for i, group in enumerate(groups):
            mine = [n for n in _trained(networks) if group.low <= n.rho <= group.high]
            tau = "-" if group.tau is None else f"{group.tau:+.2f}"
            label = f"rho {group.low:.2f} to {group.high:.2f}: tau {tau}"
            color = canvas.LEVEL_COLORS[2 * i % len(canvas.LEVEL_COLORS)]
            _accuracies(axes, [n.entropy_nats for n in mine], mine, color, label)
        trained = _trained(networks)
        _show(axes, trained)
        if not groups:  # too few for a tau
            _accuracies(axes, [n.entropy_nats for n in trained], trained)
        else:
            title = f"the paper: {PAPERS_TAU} around rho {PAPERS_RHO}"
            axes.legend(
                loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=8, title=title
            )
        axes.set_xlabel("entropy, weights 1 and 8 for the last level, nats")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        return _picture(fig, name, f"Accuracy of random networks against entropy, {what}")


def shape_picture(networks: Sequence[Network], what: str, name: str = "fig5") -> Picture:
    """Figure 5: depth and width against rho."""
    with canvas.style(name):
        fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
        kinds = (
            ("layers", "Depth against rho, main-path layers", GREEN),
            ("mean_width", "Width against rho, geometric mean fan-in", ORANGE),
        )
        for i, (field, title, color) in enumerate(kinds):
            axes = canvas.panel(fig, _box(i), title)
            _points(axes, networks, field, color)
            axes.set_xlabel("rho")
        return _picture(fig, name, f"Depth and width of random networks, {what}")


def _picture(fig: Figure, name: str, label: str) -> Picture:
    return Picture(label, canvas.to_png(fig), canvas.to_svg(fig, name, label))


def _points(axes: Axes, networks: Sequence[Network], field: str, color: str) -> None:
    y = [getattr(network, field) for network in networks]
    axes.plot([network.rho for network in networks], y, "o", ms=4, color=color)
    axes.set_ylim(bottom=0)
    if max(y, default=0) >= 1000:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))


def _trained(networks: Sequence[Network]) -> list[Network]:
    return [network for network in networks if network.top1 is not None]


def _accuracies(
    axes: Axes, x: Sequence[float], networks: Sequence[Network], color: str = BLUE, label: str = ""
) -> None:
    """Means over seeds with their intervals."""
    top1 = [100 * (n.top1 or 0.0) for n in networks]
    half = [100 * (n.half or 0.0) for n in networks]
    axes.errorbar(x, top1, half, fmt="o", ms=4, lw=0.8, color=color, label=label or None)


def _show(axes: Axes, networks: Sequence[Network]) -> None:
    """Lets the means fill the panel: intervals of few seeds are wide."""
    top1 = [100 * (n.top1 or 0.0) for n in networks]
    margin = 0.35 * max(max(top1) - min(top1), 0.5)
    axes.set_ylim(min(top1) - margin, min(max(top1) + margin, 100.5))


def _best_rho(axes: Axes) -> None:
    axes.axvline(PAPERS_RHO, color=canvas.MUTED, lw=1.0, ls="--")
    axes.set_xlabel("rho; dashed: where the paper finds accuracy greatest")


def _not_run(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not run", ha="center", color=canvas.MUTED, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def _box(index: int) -> tuple[float, float, float, float]:
    left, right, bottom, top, between = 52.0, 16.0, 54.0, 40.0, 62.0
    width = (WIDTH_PT - left - right - between) / 2
    return left + index * (width + between), bottom, width, HEIGHT_PT - bottom - top
