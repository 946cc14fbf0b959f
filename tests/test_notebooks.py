"""The notebooks: in step with their text files, at one address, and run from top to bottom."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
NAMES = [path.stem for path in SOURCES]
QUICK = ("01", "02")
"""Those that every run of the tests executes; the others take longer."""

PATIENCE_SECONDS = 900
"""For one notebook on a busy machine; where it is idle, none takes more than 180."""

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


def outputs_of(notebook, folder):
    """What its cells print and show, run in an empty folder by a kernel as plain as Colab's."""
    pytest.importorskip("ipykernel")
    written = folder / "outputs.json"
    place = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    env = {**os.environ, "PYTHONPATH": place, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(__file__).with_name("notebook_cells.py"))]
    subprocess.run(
        [*command, str(notebook), str(written)],
        cwd=folder,
        env=env,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    outputs = json.loads(written.read_text())
    for output in outputs:
        assert "traceback" not in output, "\n".join(output["traceback"])
    return outputs


@pytest.mark.parametrize("source", EXECUTED)
def test_a_notebook_runs_from_top_to_bottom(source, tmp_path):
    outputs = outputs_of(source.with_suffix(".ipynb"), tmp_path)
    assert "Warning" not in "".join(output.get("text", "") for output in outputs)
    shown = sum("image/png" in output.get("data", {}) for output in outputs)
    assert shown >= max(1, source.read_text().count("plt.show()"))


def test_an_error_in_a_cell_of_a_notebook_is_found(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    cells = [
        nbformat.v4.new_code_cell(text) for text in ("print('before')\n1 / 0", "print('after')")
    ]
    notebook = tmp_path / "wrong.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        outputs_of(notebook, tmp_path)
