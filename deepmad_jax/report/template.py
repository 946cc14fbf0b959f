"""One HTML page in one file: styles inline, no scripts, nothing from the network."""

import html
import string
from importlib import resources
from pathlib import Path


def write_page(path: Path, title: str, lead: str, body: str) -> None:
    """Writes the page; ``body`` is HTML, the other two are text."""
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    page = string.Template(template).substitute(
        title=html.escape(title), lead=html.escape(lead), body=body
    )
    # "replace": a name read from JSON may hold half a surrogate pair, which has no UTF-8.
    path.write_bytes(page.encode("utf-8", "replace"))
