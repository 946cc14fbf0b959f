"""README and pages: their blocks run, their links lead somewhere, the site builds without warnings.

A fenced block is Python (run in one namespace for the page), shell (run in a folder like a
checkout) or text. ``<!-- slow -->`` on the line before it leaves it to the slow tests, and
``<!-- not run: REASON -->`` to the reader.
"""

import html.parser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

import pytest

from deepmad_jax import cli
from deepmad_jax.arch import layers, stages
from deepmad_jax.design.program import checks
from deepmad_jax.main import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("api/*.md"))]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
EXTRAS = {"exports": ("onnx", "onnxruntime"), "pytorch": ("torch",), "notebooks": ("jupytext",)}
"""Page -> the packages beyond the usual ones that its blocks import."""

MOST_LINES = 150
OPENING = "make demo\nmake test\n"


class Block(NamedTuple):
    """A fenced block; ``mark``: of the comment before it; ``line``: where its code begins."""

    language: str
    code: str
    mark: str
    line: int


def blocks_of(path):
    lines = path.read_text().splitlines()
    found, opened = [], None
    for number, line in enumerate(lines, 1):
        if opened is None and line.startswith("```"):
            before = lines[number - 2] if number > 1 else ""
            mark = re.fullmatch(r"<!-- (.*) -->", before)
            opened = (line[3:].strip(), mark[1] if mark else "", number)
        elif line == "```":
            language, mark, start = opened
            code = "".join(f"{text}\n" for text in lines[start : number - 1])
            found.append(Block(language, code, mark, start + 1))
            opened = None
    assert opened is None, f"{path.name}: a block is not closed"
    return found


def runnable(path, slow):
    """The blocks to run: of the README no Python, which `test_library` runs, and no `make`."""
    languages = ("sh",) if path.name == "README.md" else ("sh", "python")
    marks = ("", "slow") if slow else ("",)
    blocks = [b for b in blocks_of(path) if b.language in languages and b.mark in marks]
    # `make test` runs this very test; `.ci/run` runs that, from a clean clone.
    return [block for block in blocks if block.code != OPENING]


def with_blocks(slow):
    chosen = []
    for path in PAGES:
        blocks = runnable(path, slow)
        if any(block.mark == "slow" for block in blocks) if slow else blocks:
            chosen.append(pytest.param(path, id=str(path.relative_to(ROOT).with_suffix(""))))
    return chosen


def commands_of(code):
    """The logical lines of shell code, continuations joined."""
    return [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def run_shell(code):
    for command in commands_of(code):
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "deepmad_jax.main"]:
            # In this process, which has the programs compiled already.
            assert main(["main", *words[3:]]) == 0, command
            continue
        if words[0] == "deepmad":
            assert cli.main(words[1:]) == 0, command
            continue
        here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": here, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        environment["PYTHON"] = sys.executable  # for launch/local.sh, which would take .venv's
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def run_page(path, blocks):
    names = {"__name__": f"page_{path.stem}"}
    for block in blocks:
        if block.language == "sh":
            run_shell(block.code)
        else:
            # So that a traceback names the line of the page.
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, str(path), "exec"), names)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that looks like a checkout and may be written to."""
    for path in ROOT.iterdir():
        if path.name == "notebooks":
            shutil.copytree(path, tmp_path / path.name)
        elif path.name not in (".git", ".venv", "runs"):
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    # What a page names for the process it runs in is forgotten after it.
    monkeypatch.setattr(stages, "BLOCKS", stages.BLOCKS)
    monkeypatch.setattr(checks, "BLOCKS", checks.BLOCKS)
    monkeypatch.setattr(layers, "BLOCK_LAYERS", dict(layers.BLOCK_LAYERS))
    return tmp_path


@pytest.mark.parametrize("path", with_blocks(slow=False))
def test_the_blocks_of_a_page_run(path, checkout):
    for package in EXTRAS.get(path.stem, ()):
        pytest.importorskip(package)
    run_page(path, runnable(path, slow=False))


@pytest.mark.slow
@pytest.mark.parametrize("path", with_blocks(slow=True))
def test_the_slow_blocks_of_a_page_run_after_the_others(path, checkout):
    for package in EXTRAS.get(path.stem, ()):
        pytest.importorskip(package)
    run_page(path, runnable(path, slow=True))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_block_says_what_it_is_and_why_it_does_not_run(path):
    for block in blocks_of(path):
        where = f"{path.name}, line {block.line}"
        if block.language.startswith("{"):
            continue  # Sphinx's own
        assert block.language in ("sh", "python", "text"), where
        if block.mark and block.language != "text":
            assert block.mark == "slow" or re.fullmatch(r"not run: \w+.{8,}", block.mark), where


def test_the_readme_opens_with_its_two_commands_and_is_short():
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) < MOST_LINES
    assert blocks_of(readme)[0] == Block("sh", OPENING, "", 4)


def test_the_readmes_two_commands_are_targets_of_the_makefile():
    for target in ("demo", "test", "docs"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def _slug(heading):
    """The anchor of a heading, as GitHub and MyST make it."""
    text = re.sub(r"[`*_]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading))
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_link_of_a_text_leads_to_a_file_and_a_heading(path):
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        link = urlparse(target)
        if link.scheme in ("http", "https"):
            continue
        file = (path.parent / link.path).resolve() if link.path else path
        assert file.exists(), f"{path.name}: {target}"
        if link.fragment:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert link.fragment in map(_slug, headings), f"{path.name}: {target}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_module_that_a_text_names_is_there(path):
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    named = set(re.findall(r"`([\w/]+\.(?:py|toml|cff))`", prose))
    files = [f"/{file}" for file in _TRACKED]
    missing = [name for name in named if not any(file.endswith(f"/{name}") for file in files)]
    assert not missing


_TRACKED = [
    str(path.relative_to(ROOT))
    for folder in ("deepmad_jax", "configs", "launch", "benchmarks", "tests", "notebooks")
    for path in (ROOT / folder).rglob("*.py")
]


class _Page(html.parser.HTMLParser):
    """Links, loaded files and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif "src" in found or (tag == "link" and found.get("rel") in ("stylesheet", "icon")):
            self.loaded.append(found.get("src") or found.get("href"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the built site by path; built once, warnings are errors."""
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [*command, "-d", str(out / "trees"), str(DOCS), str(out / "html")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {path: _Page(path.read_text()) for path in sorted((out / "html").rglob("*.html"))}


def test_the_site_has_a_page_for_every_text(site):
    names = {path.stem for path in site}
    assert {path.stem for path in PAGES[1:]} <= names


def test_the_site_loads_nothing_from_the_network(site):
    for path, page in site.items():
        for target in page.loaded:
            assert not urlparse(target).netloc, f"{path.name} loads {target}"
            assert (path.parent / unquote(urlparse(target).path)).exists(), f"{path.name}: {target}"


def test_the_signatures_of_the_site_show_plain_types(site):
    (path,) = (path for path in site if path.match("api/design.html"))
    text = re.sub("<[^>]*>", "", path.read_text())
    assert "kernels: tuple[int, ...] = (3, 5)" in re.sub(r"\s+", " ", text)
    assert "Annotated[" not in text


def test_every_link_of_the_site_leads_somewhere(site):
    for path, page in site.items():
        for target in page.links:
            link = urlparse(target)
            if link.scheme or link.netloc:
                continue
            file = (path.parent / unquote(link.path)).resolve() if link.path else path
            assert file.exists(), f"{path.name}: {target}"
            if link.fragment and file in site:
                assert unquote(link.fragment) in site[file].anchors, f"{path.name}: {target}"


def test_the_equations_of_the_site_are_set_by_the_katex_that_lies_beside_them(site):
    by_name = {path.stem: page for path, page in site.items()}
    for name in ("theory", "solving"):
        loaded = {target.split("?")[0] for target in by_name[name].loaded}
        for file in ("katex.min.css", "katex.min.js", "auto-render.min.js"):
            assert f"_static/katex/{file}" in loaded
    css = (DOCS / "_static/katex/katex.min.css").read_text()
    for font in set(re.findall(r"url\((fonts/[^)]+\.woff2)\)", css)):
        assert (DOCS / "_static/katex" / font).exists()
