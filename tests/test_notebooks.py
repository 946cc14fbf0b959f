"""The notebooks: in step with their text files, at one address, and run from top to bottom."""

import ast
import os
import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
NAMES = [path.stem for path in SOURCES]
QUICK = ("01", "02", "05")
"""Those that every run of the tests executes; the others take longer."""

EXECUTED = [
    pytest.param(path, id=path.stem, marks=() if path.stem.startswith(QUICK) else pytest.mark.slow)
    for path in SOURCES
]


def _address():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["urls"]["Repository"]


def test_there_are_five_notebooks_each_with_its_text_file():
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04", "05"]
    assert [path.stem for path in sorted(FOLDER.glob("*.ipynb"))] == NAMES


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_notebook_is_what_its_text_file_makes(source):
    pytest.importorskip("jupytext")
    text_of = runpy.run_path(str(FOLDER / "make_ipynb.py"))["text_of"]
    made = source.with_suffix(".ipynb").read_text()
    assert made == text_of(source), "run: python notebooks/make_ipynb.py"


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_notebook_opens_in_colab_and_installs_from_the_projects_address(source):
    address, text = _address(), source.read_text()
    place = address.removeprefix("https://github.com/")
    assert re.findall(r'^REPOSITORY = "(.*)"$', text, re.M) == [address]
    opened = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/"
    assert f"]({opened}{source.stem}.ipynb)" in text
    assert set(re.findall(r"github(?:\.com)?/([\w-]+/[\w-]+)", text)) == {place}


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_the_first_code_of_a_notebook_installs_the_package_where_it_is_missing(source):
    first = re.split(r"^# %%.*$", source.read_text(), flags=re.M)[2]
    runs = {}

    class Subprocess:
        def run(command, check):
            runs["command"], runs["check"] = command, check

    class Util:
        def find_spec(name):
            runs["looked for"] = name

    class Importlib:
        util = Util

    tree = ast.parse(first)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import)]
    names = {"importlib": Importlib, "subprocess": Subprocess, "sys": sys}
    exec(compile(tree, source.name, "exec"), names)
    assert runs["looked for"] == "deepmad_jax"
    assert runs["check"]
    *command, package = runs["command"]
    assert command == [sys.executable, "-m", "pip", "install", "--quiet"]
    assert package.endswith(f"] @ git+{_address()}")


@pytest.mark.parametrize("source", EXECUTED)
def test_a_notebook_runs_from_top_to_bottom(source, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    # The kernel is a process of its own: it finds the package as this one does.
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = nbformat.read(source.with_suffix(".ipynb"), 4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    printed = "".join(
        output.get("text", "") for cell in code for output in cell.outputs if "text" in output
    )
    assert "Warning" not in printed
