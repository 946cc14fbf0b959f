"""A table of text cells, rendered for a terminal and as HTML."""

import csv
import dataclasses
import html
import io

COLUMNS = 100
"""Width of a terminal that tables keep within."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        align: one of ``l`` and ``r`` a column.
        total: whether the last row is a total, to be set off.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    total: bool = False
    note: str = ""


def printable(text: str, most: int) -> str:
    """The text in one line of at most ``most`` characters, without control characters.

    >>> printable("red\\x1b[31m\\n", 80)
    'red?[31m?'
    """
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= most else clean[: most - 3] + "..."


def percent(value: float) -> str:
    """One decimal, or two where there are two, as accuracies are published."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"


def to_text(table: Table) -> str:
    """The table for a terminal: title, aligned columns, note.

    Columns stand two spaces apart, or one where two would pass `COLUMNS`.
    """
    lines = [table.header, *table.rows] if any(table.header) else list(table.rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= COLUMNS else 1

    def line(cells: tuple[str, ...]) -> str:
        padded = (
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(cells, widths, table.align, strict=True)
        )
        return (" " * gap).join(padded).rstrip()

    rule = "-" * (sum(widths) + gap * (len(widths) - 1))
    text = [line(cells) for cells in lines]
    if any(table.header):
        text.insert(1, rule)
    if table.total:
        text.insert(-1, rule)
    return "\n".join([table.title, *text, *([table.note] if table.note else [])])


def to_csv(table: Table) -> str:
    """Header and rows, as they are shown."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
    return text.getvalue()


def to_html(table: Table) -> str:
    """The table as HTML, every cell escaped."""

    def line(cells: tuple[str, ...], tag: str, cls: str = "") -> str:
        inside = "".join(
            f'<{tag} class="{side}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(cells, table.align, strict=True)
        )
        return f"<tr{cls}>{inside}</tr>"

    last = len(table.rows) - 1
    body = [
        line(cells, "td", ' class="total"' if table.total and i == last else "")
        for i, cells in enumerate(table.rows)
    ]
    head = f"<thead>{line(table.header, 'th')}</thead>" if any(table.header) else ""
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    rows = "\n".join(body)
    return (
        f"<h2>{html.escape(table.title)}</h2>\n"
        f'<div class="scroll"><table>{head}<tbody>\n{rows}\n</tbody></table></div>{note}'
    )
