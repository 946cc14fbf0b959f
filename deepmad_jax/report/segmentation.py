"""What a segmenter gave every pixel: a table of its classes, its confusions, coloured images.

Read from ``predictions/`` of the workdir, as leniently as the rest: what is missing is left out.
"""

import base64
import html
from pathlib import Path
from typing import Any

from deepmad_jax.report.read import PREDICTIONS, finite, mapping
from deepmad_jax.report.table import Table, printable, to_html

MOST_CONFUSIONS = 12
"""Pairs of classes in the list of what was taken for what."""

MOST_SIDES = 40
"""Classes up to which the picture names them."""

CELL_PT, EDGE_PT = 15.0, 96.0
LEAST_PT = 300.0
LARGEST_PT = 620.0


def section_of(workdir: Path, numbers: dict[str, Any]) -> str:
    """The tables and images as HTML; empty without numbers."""
    if not numbers:
        return ""
    parts = [to_html(class_table(numbers)), to_html(confusion_list(numbers))]
    for overlay in numbers.get("overlays", ()):
        parts.append(_overlay(workdir / PREDICTIONS, mapping(overlay)))
    return "\n".join(filter(None, parts))


def class_table(numbers: dict[str, Any]) -> Table:
    """IoU, accuracy and labelled pixels of every class."""
    columns = (numbers["names"], numbers["iou"], numbers["accuracy"], numbers["pixels"])
    rows = tuple(
        (printable(str(name), 40), _share(iou), _share(accuracy), f"{int(pixels):,}")
        for name, iou, accuracy, pixels in zip(*columns, strict=True)
    )
    total = f"{sum(map(int, numbers['pixels'])):,}"
    means = ("mean", _share(numbers.get("miou")), _share(numbers.get("macc")), total)
    header = ("class", "IoU", "accuracy", "labelled pixels")
    note = f"{_share(numbers.get('aacc'))} of all labelled pixels are right."
    return Table("Classes", header, (*rows, means), "lrrr", total=True, note=note)


def confusion_list(numbers: dict[str, Any]) -> Table:
    """The pairs of classes with most pixels of the first taken for the second."""
    names = [printable(str(name), 40) for name in numbers["names"]]
    table = numbers["confusion"]
    pairs = [
        (int(pixels), i, j)
        for i, row in enumerate(table)
        for j, pixels in enumerate(row)
        if i != j and int(pixels)
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    rows = tuple(
        (names[i], names[j], f"{pixels:,}", _share(pixels / sum(map(int, table[i]))))
        for pixels, i, j in pairs[:MOST_CONFUSIONS]
    )
    header = ("class", "taken for", "pixels", "of the class")
    return Table("Most frequent confusions", header, rows, "llrr")


def confusion_figure(numbers: dict[str, Any]) -> Any:
    """The table of confusions as a square of shades, rows as shares of each class; or None."""
    if not numbers:
        return None
    from deepmad_jax.report import canvas

    table = [[int(x) for x in row] for row in numbers["confusion"]]
    shares = [[x / max(sum(row), 1) for x in row] for row in table]
    count = len(shares)
    side = min(LARGEST_PT, max(LEAST_PT, CELL_PT * count))
    fig = canvas.figure(side + EDGE_PT + 20, side + EDGE_PT + 32)
    title = "Found (columns), % of labelled (rows)"
    axes = canvas.panel(fig, (EDGE_PT, EDGE_PT, side, side), title)
    axes.grid(False)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest", aspect="equal")
    axes.spines[:].set_visible(False)
    if count <= MOST_SIDES:
        names = [canvas.drawable(str(name), 16) for name in numbers["names"]]
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_yticks(range(count), names)
    if count <= 12:
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                shade = "white" if share > 0.5 else canvas.INK
                axes.text(
                    j, i, f"{100 * share:.0f}", ha="center", va="center", color=shade, fontsize=8
                )
    return fig


def _overlay(folder: Path, overlay: dict[str, Any]) -> str:
    name = str(overlay.get("file", ""))
    try:
        # A name of a file beside the numbers, whatever they say.
        data = (folder / Path(name).name).read_bytes()
    except OSError:
        return ""
    source = base64.b64encode(data).decode()
    what = html.escape(printable(str(overlay.get("image", name)), 200))
    return (
        f'<figure><img alt="{what}: image, labels, classes found" '
        f'src="data:image/png;base64,{source}">'
        f"<figcaption>{what}: the image, its labels, what was found.</figcaption></figure>"
    )


def _share(value: Any) -> str:
    known = finite(value)
    return "-" if known is None else f"{100 * known:.2f} %"
