"""Writes ``report.html`` and the PNGs of a workdir; the same files in give the same bytes out.

The page is one file: styles inline, pictures as inline SVG, no scripts, nothing from the network.
Every text from a result file is escaped. Without matplotlib (the ``report`` extra) the page has
everything but the pictures, and says so.
"""

import contextlib
import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad_jax.report import tables
from deepmad_jax.report.read import Run, finite, read
from deepmad_jax.report.sections import describe, sections
from deepmad_jax.report.segmentation import section_of
from deepmad_jax.report.table import printable, to_html
from deepmad_jax.report.template import write_page

if TYPE_CHECKING:
    from deepmad_jax.report.pictures import Picture

NO_PICTURES = (
    "There are no pictures: drawing them needs matplotlib. Install it with "
    "pip install 'deepmad_jax[report]' and run the job again."
)


def write(workdir: str | Path) -> Path:
    """The path of the report on what is in ``workdir``, written there with its PNGs.

    Args:
        workdir: holds ``architecture.json`` and, where there are any, ``design.json``,
            ``metrics.jsonl`` and ``config.json``.
    Raises:
        InvalidArchitecture: ``architecture.json`` is missing or broken.
        UserError: another of these files is not what it should be.
    """
    workdir = Path(workdir)
    run = read(workdir)
    pictures = _draw(run)
    for name, picture in (pictures or {}).items():
        (workdir / f"{name}.png").write_bytes(picture.png)
    path = workdir / "report.html"
    title, lead = printable(run.arch.name, 200), describe(run.arch).replace(" x ", " × ")
    write_page(path, title, lead, _body(workdir, run, pictures))
    return path


def preload() -> None:
    """Imports what `write` will draw with, where it is installed."""
    with contextlib.suppress(ImportError):
        from deepmad_jax.report import pictures  # noqa: F401


def _draw(run: Run) -> "dict[str, Picture] | None":
    """The pictures, or None where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return None
    from deepmad_jax.report import pictures

    return pictures.draw(run)


def _body(workdir: Path, run: Run, pictures: "dict[str, Picture] | None") -> str:
    layers, *others = tables.tables(run.arch, run.design)
    figures = {name: _figure(picture) for name, picture in (pictures or {}).items()}
    parts = [
        _cards(run),
        figures.get("network", ""),
        f'<p class="note">{html.escape(NO_PICTURES)}</p>' if pictures is None else "",
        to_html(layers),
        _side_by_side([to_html(table) for table in others]),
        figures.get("entropy", ""),
        _section("Solver", figures.get("convergence", "")),
        _section("Training", _unreadable(run) + figures.get("training", "")),
        _section("Pixels", figures.get("confusion", "") + section_of(workdir, run.pixels)),
        _source("architecture.json", run.arch.to_dict()),
        _source("config.json", run.config),
    ]
    return "\n".join(filter(None, parts))


def _cards(run: Run) -> str:
    """The few numbers one looks for first."""
    design = run.design or {}
    rows = sections(run.arch)
    cards = [
        (f"{sum(s.params for s in rows):,}", "params"),
        (f"{sum(s.macs for s in rows):,}", "MACs"),
        (_number(design.get("rho"), "{:.4f}"), "rho, depth over width"),
        (_number(design.get("objective"), "{:,.2f}"), "objective, nats"),
        (_number(design.get("seconds"), "{:,.1f} s"), "to design"),
    ]
    for last in run.metrics.evaluation[-1:]:
        samples = "".join(
            _number(last.get(name), f" of {{:,.0f}} {name}") for name in ("images", "videos")
        )
        step = _number(last.get("step"), ", step {:,.0f}")
        for key in ("top1", "top5"):
            share = _number(last.get(key), "{:.2%}").replace("%", " %")
            cards.append((share, f"{key.replace('top', 'top-')}{samples}{step}"))
        for key, what in (
            ("miou", "mean IoU"),
            ("macc", "mean accuracy"),
            ("aacc", "pixels right"),
        ):
            share = _number(last.get(key), "{:.2%}").replace("%", " %")
            cards.append((share, f"{what}{samples}{step}"))
    for last in run.metrics.train[-1:]:
        cards.append(
            (_number(last.get("images_per_second"), "{:,.0f}"), "images a second, trained")
        )
    shown = "\n".join(
        f'<div class="card"><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>'
        for value, what in cards
        if value
    )
    return f'<div class="cards">\n{shown}\n</div>'


def _figure(picture: "Picture") -> str:
    return (
        f'<figure><div class="scroll">{picture.svg}</div>'
        f"<figcaption>{html.escape(picture.label)}.</figcaption></figure>"
    )


def _side_by_side(parts: list[str]) -> str:
    """As many in a row as the screen is wide."""
    inside = "\n".join(f"<div>\n{part}\n</div>" for part in parts)
    return f'<div class="side">\n{inside}\n</div>' if parts else ""


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{body}" if body else ""


def _unreadable(run: Run) -> str:
    count = run.metrics.unreadable
    if not count:
        return ""
    lines = "line" if count == 1 else "lines"
    return f'<p class="note">{count:,} {lines} of metrics.jsonl could not be read.</p>'


def _source(name: str, data: dict[str, Any] | None) -> str:
    if data is None:
        return ""
    text = html.escape(json.dumps(data, indent=1))
    return f"<details><summary>{html.escape(name)}</summary><pre>{text}</pre></details>"


def _number(value: Any, form: str) -> str:
    known = finite(value)
    return "" if known is None else form.format(known)
