"""The notebooks: in step with their text files, at one address, and run from top to bottom."""

import ast
import os
import queue
import re
import runpy
import sys
import time
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
"""For one cell on a busy machine; where it is idle, a whole notebook takes less than 180."""

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


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A client of a new kernel in an empty folder, as plain as Colab's on a CPU."""
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client.manager")
    # The kernel is a process of its own: it finds the package as this one does.
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    running, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    yield client
    client.stop_channels()
    running.shutdown_kernel(now=True)


def outputs_of(client, code):
    """What a cell prints and shows, message by message; an error of it is raised here.

    Asks once a second: the asynchronous clients, which wait for as long as a cell may take, have
    been seen to sleep through an answer.
    """
    asked, outputs = client.execute(code), []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            said = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            assert client.is_alive(), "the kernel died"
            continue
        if said["parent_header"].get("msg_id") != asked:
            continue
        assert said["msg_type"] != "error", "\n".join(said["content"]["traceback"])
        if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
            return outputs
        outputs.append(said["content"])
    raise TimeoutError(f"after {PATIENCE_SECONDS} s there is no answer to:\n{code}")


@pytest.mark.parametrize("source", EXECUTED)
def test_a_notebook_runs_from_top_to_bottom(source, kernel):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(source.with_suffix(".ipynb"), 4)
    outputs = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs += outputs_of(kernel, cell.source)
    assert "Warning" not in "".join(output.get("text", "") for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_an_error_in_a_cell_of_a_notebook_is_found(kernel):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        outputs_of(kernel, "print('before')\n1 / 0")
