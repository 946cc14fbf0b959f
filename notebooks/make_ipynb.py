"""Writes each notebook of this folder from its text file: ``python notebooks/make_ipynb.py``.

The text file (jupytext's percent format) is the source. The notebook holds no outputs and its cells
have fixed ids, so the same text gives the same bytes.
"""

from pathlib import Path

import jupytext
import nbformat

FOLDER = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def sources() -> list[Path]:
    """The text files, in order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def notebook(source: Path) -> nbformat.NotebookNode:
    """The notebook of a text file."""
    made = jupytext.reads(source.read_text(), fmt="py:percent")
    made.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for i, cell in enumerate(made.cells):
        cell["id"] = f"cell-{i:02d}"
        cell.metadata = nbformat.from_dict({})
    return made


def text_of(source: Path) -> str:
    """The contents of the notebook's file."""
    return nbformat.writes(notebook(source)) + "\n"


if __name__ == "__main__":
    for path in sources():
        path.with_suffix(".ipynb").write_text(text_of(path))
        print(path.with_suffix(".ipynb").name)
