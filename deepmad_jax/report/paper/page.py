"""``paper.html``: all parts on one page, in one file."""

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad_jax.report.paper.tables import title_of
from deepmad_jax.report.table import Table, to_html
from deepmad_jax.report.template import write_page

if TYPE_CHECKING:
    from deepmad_jax.report.pictures import Picture

_LEAD = (
    "Tables and figures of DeepMAD (CVPR 2023, arXiv 2303.02165) beside what was designed, counted "
    "and trained here. The paper's figures are the paper's; what was not run says so."
)


@dataclasses.dataclass(frozen=True)
class Part:
    """A table or figure of the paper.

    Attributes:
        name: of `deepmad_jax.paper.PARTS`.
        tables, pictures: by the names of their files, without ending.
    """

    name: str
    tables: dict[str, Table] = dataclasses.field(default_factory=dict)
    pictures: "dict[str, Picture]" = dataclasses.field(default_factory=dict)


def write_paper(parts: Sequence[Part], directory: Path) -> Path:
    """The path of the page, written there."""
    body = []
    for part in parts:
        body += [to_html(table) for table in part.tables.values()]
        if part.pictures:
            body.append(f"<h2>{html.escape(title_of(part.name))}</h2>")
        for picture in part.pictures.values():
            body.append(
                f'<figure><div class="scroll">{picture.svg}</div>'
                f"<figcaption>{html.escape(picture.label)}.</figcaption></figure>"
            )
    path = directory / "paper.html"
    write_page(path, "The paper, and ours", _LEAD, "\n".join(body))
    return path
