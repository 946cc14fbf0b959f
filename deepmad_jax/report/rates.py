"""The picture of a learning-rate range test: the loss at every rate."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from deepmad_jax.report import canvas

WIDTH_PT, HEIGHT_PT = 480.0, 260.0


def rates_png(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    steepest: float,
    least: float,
) -> bytes:
    """A PNG; arguments as `tasks.rates.RangeTest` has them."""
    with canvas.style("rates"):
        return canvas.to_png(rates_figure(rates, losses, smoothed, steepest, least))


def rates_figure(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    steepest: float,
    least: float,
) -> Figure:
    """The losses as dots, smoothed as a line, and two rates marked."""
    fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
    axes = canvas.panel(fig, (48, 54, WIDTH_PT - 62, HEIGHT_PT - 94), "Loss at a rising rate")
    axes.plot(rates, losses, ".", color=canvas.LEVEL_COLORS[1], ms=3, alpha=0.5)
    axes.plot(rates, smoothed, color=canvas.LEVEL_COLORS[1], lw=1.5, label="smoothed")
    for rate, label, style in ((steepest, "steepest", "-"), (least, "least", ":")):
        axes.axvline(rate, color=canvas.INK, lw=1.0, ls=style, label=f"{label}: {rate:.2g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate")
    low, high = min(smoothed), max(smoothed[: max(2, smoothed.index(min(smoothed)) + 1)])
    axes.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return fig
