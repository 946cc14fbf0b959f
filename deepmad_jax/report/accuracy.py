"""Published accuracy against exact cost, as the paper's Figures 1 and 4 show it.

`figure1.png`: DeepMAD's networks beside ConvNeXt and Swin. `figure4.png`: every network of Table 3.
Accuracies are what the paper prints; params and MACs are counted from the layer table, where the
paper's figures have rounded ones. SLaK stands at what it stores and multiplies; a thin line leads
to what is left without its zeros, which the paper counts.
"""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.arch.zoo import ZooEntry
from deepmad_jax.report import canvas

FAMILIES = {
    "DeepMAD": "deepmad_", "ConvNeXt": "convnext_", "Swin": "swin_", "SLaK": "slak_",
    "RepLKNet": "replknet_", "DeiT": "deit_", "PVT": "pvt_", "TNT": "tnt_",
    "T2T-ViT_t": "t2t_vit_t_", "ResNet": "resnet",
}  # fmt: skip
"""Name in the legend -> how the zoo's names begin."""

FIGURE_1 = ("DeepMAD", "ConvNeXt", "Swin")

COLORS = ("#1f2430", *canvas.LEVEL_COLORS, "#9a9a9a")
MARKERS = "osD^v<>PXd"
WIDTH_PT, HEIGHT_PT, LEGEND_PT = 800.0, 360.0, 118.0


def draw_accuracy(entries: Mapping[str, ZooEntry], directory: Path) -> list[Path]:
    """Writes ``figure1.png`` and ``figure4.png``; returns their paths.

    Args:
        entries: of published networks by name, all on ImageNet.
        directory: must exist.
    """
    paths = []
    for name, families in (("figure1", FIGURE_1), ("figure4", tuple(FAMILIES))):
        with canvas.style(name):
            path = directory / f"{name}.png"
            path.write_bytes(canvas.to_png(accuracy_figure(entries, families)))
            paths.append(path)
    return paths


def accuracy_figure(entries: Mapping[str, ZooEntry], families: tuple[str, ...]) -> Figure:
    """Top-1 against MACs and against params, a line a family."""
    fig = canvas.figure(WIDTH_PT, HEIGHT_PT)
    left, bottom, between = 52.0, 54.0, 46.0
    width = (WIDTH_PT - left - LEGEND_PT - between) / 2
    for i, (title, unit) in enumerate((("MACs", 1e9), ("parameters", 1e6))):
        box = (left + i * (width + between), bottom, width, HEIGHT_PT - bottom - 40)
        axes = canvas.panel(fig, box, f"Top-1 on ImageNet against {title}, %")
        axes.set_xlabel(f"{title}, {'G' if unit == 1e9 else 'M'}")
        for family in families:
            _draw_family(axes, family, entries, i, unit)
    add_legend(fig)
    return fig


def add_legend(fig: Figure) -> None:
    """Names what the right panel shows, beside it."""
    fig.axes[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=8)


def _draw_family(
    axes: Axes, family: str, entries: Mapping[str, ZooEntry], which: int, unit: float
) -> None:
    place = list(FAMILIES).index(family)
    color, marker = COLORS[place], MARKERS[place]
    points = []
    for name, found in entries.items():
        if not name.startswith(FAMILIES[family]):
            continue
        rows = layer_table(found.architecture)
        dense = (cost.macs(rows), cost.params(rows))[which] / unit
        points.append((dense, found.top1))
        if found.sparsity:
            left = cost.nonzero(rows, found.sparsity)[1 - which] / unit
            axes.plot([left, dense], [found.top1] * 2, color=color, lw=0.8, ls=":")
            axes.plot([left], [found.top1], marker, color=color, ms=5, mfc="white")
    points.sort(key=lambda point: point[1])
    x, y = zip(*points, strict=True) if points else ((), ())
    front = 3 if family == "DeepMAD" else 2
    axes.plot(x, y, f"{marker}-", color=color, lw=1.2, ms=5, label=family, zorder=front)
