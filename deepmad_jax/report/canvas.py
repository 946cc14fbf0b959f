"""The sheet pictures are drawn on: one style, and a figure as PNG bytes or as inline SVG.

PNGs are light. In the SVG the few colours that depend on the background become CSS variables, so
that the report follows the reader's light or dark mode with a single drawing.

Matplotlib's object interface and the Agg backend only: no pyplot, no global figures, no display.
"""

import html
import io
import re
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2430", "#636b7a", "#d9dde4"
"""Text and dark marks, secondary text, grid lines: on a light background."""

CSS_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"}

LEVEL_COLORS = (
    "#45a5a0", "#4c8fc4", "#6f7bd0", "#a067bf", "#cf5f8d", "#de6f4f", "#d99a2b", "#8aa03a",
)  # fmt: skip
"""One hue a level from the finest resolution on; mid tones that stand on white and on black."""

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,  # a network's name may hold dollar signs
    "axes.unicode_minus": False,
    "axes.formatter.use_mathtext": False,
    "path.simplify": True,
    "svg.fonttype": "path",
}

DOTS_PER_INCH = 150


def style(name: str) -> AbstractContextManager[None]:
    """The settings under which a figure called ``name`` is made and written."""
    # The salt makes the SVG's ids, otherwise random, a function of what is drawn.
    return matplotlib.rc_context({**STYLE, "svg.hashsalt": name})


def figure(width_pt: float, height_pt: float) -> Figure:
    """An empty sheet, in points (1/72 inch)."""
    return Figure(figsize=(width_pt / 72, height_pt / 72), facecolor="white")


def sheet(fig: Figure) -> Axes:
    """Axes over the whole sheet with points as units, nothing drawn."""
    width_pt, height_pt = fig.get_size_inches() * 72
    axes = fig.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width_pt)
    axes.set_ylim(0, height_pt)
    axes.axis("off")
    return axes


def panel(fig: Figure, box: tuple[float, float, float, float], title: str) -> Axes:
    """Axes with a title and light horizontal grid lines.

    ``box`` is x, y, width and height in points, of the plotting area alone.
    """
    width_pt, height_pt = fig.get_size_inches() * 72
    x, y, width, height = box
    axes = fig.add_axes((x / width_pt, y / height_pt, width / width_pt, height / height_pt))
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    # Fixed places: the automatic ones cost a fifth of the drawing time.
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK, y=1 + 8 / height)
    axes.xaxis.set_label_coords(0.5, -28 / height)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    axes.tick_params(axis="x", length=3)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    return axes


def to_png(fig: Figure) -> bytes:
    """The figure as PNG on white; the same figure gives the same bytes."""
    FigureCanvasAgg(fig)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(fig: Figure, name: str, label: str) -> str:
    """The figure as an ``<svg>`` element for an HTML page: transparent, colours by CSS variable.

    Args:
        fig: made under `style`.
        name: prefix of all ids, unique on the page.
        label: what it shows, for readers who cannot see it.
    """
    FigureCanvasSVG(fig)
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    fig.savefig(buffer, format="svg", facecolor="none", metadata=metadata)
    text = buffer.getvalue()
    width_pt, height_pt = fig.get_size_inches() * 72
    # The body only: the XML head, its style sheet and its namespaces would act on the whole page.
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href").replace(' id="', f' id="{name}-')
    body = body.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    for color, variable in CSS_VARIABLES.items():
        body = body.replace(color, variable)
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" '
        f'viewBox="0 0 {width_pt:g} {height_pt:g}">{body.strip()}</svg>'
    )


def drawable(text: str, most: int) -> str:
    """The text in one line, with a question mark for what the font may lack.

    >>> drawable("naïve α 网络", 80)
    'naïve α ??'
    """
    clean = "".join(c if c.isprintable() and ord(c) < 0x400 else "?" for c in text)
    return clean if len(clean) <= most else clean[: most - 3] + "..."


def mix(color: str, other: str, share: float) -> str:
    """The colour with a share of another: ``mix("#000000", "#ffffff", 0.25)``.

    >>> mix("#000000", "#ffffff", 0.25)
    '#404040'
    """
    a, b = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (color, other))
    return "#" + "".join(f"{round(x + (y - x) * share):02x}" for x, y in zip(a, b, strict=True))
