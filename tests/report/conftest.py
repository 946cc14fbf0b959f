"""Samples. The design's history, prices and seconds are made up; its other numbers are measured."""

import json
import shutil
from pathlib import Path

import pytest

from deepmad_jax.arch import Architecture
from deepmad_jax.report import write

DATA = Path(__file__).parent / "data"


@pytest.fixture
def sample():
    """A function giving the architecture of a sample."""
    return lambda name: Architecture.load(DATA / f"{name}.json")


@pytest.fixture
def r18_design():
    """The contents of a design.json: the best r18 design known."""
    return json.loads((DATA / "r18_design.json").read_text())


@pytest.fixture
def workdir(tmp_path):
    """A workdir as a run leaves it, with design, metrics and config."""
    return _fill(tmp_path)


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The path of a written report, for tests that only read it."""
    return write(_fill(tmp_path_factory.mktemp("report")))


def _fill(folder):
    shutil.copy(DATA / "r18.json", folder / "architecture.json")
    shutil.copy(DATA / "r18_design.json", folder / "design.json")
    shutil.copy(DATA / "metrics.jsonl", folder / "metrics.jsonl")
    (folder / "config.json").write_text('{"name": "r18", "design": {"alpha": []}}')
    return folder
