"""What is printed, with colours where a person reads it.

click takes them out where the output is no terminal; here they are left out for NO_COLOR too
(no-color.org), and where a terminal says that it is dumb.
"""

import os
import re

import click

_HEADING = re.compile(r"^.+(?=\n-+$)", re.MULTILINE)


def heading_lines(text: str) -> str:
    """Tables with their headings, the lines over a rule of dashes, in bold."""
    if not _wanted():
        return text
    return re.sub(
        r"^(.+)(?=\n-+$)", lambda found: click.style(found[1], bold=True), text, flags=re.M
    )


def tell(message: str) -> None:
    """A message on stderr; its first word, such as ``error``, in red."""
    if _wanted():
        message = re.sub(r"^\w+(?=[:;])", lambda found: click.style(found[0], fg="red"), message)
    click.echo(message, err=True)


def _wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
