"""A drawn set and a run on it that several files of tests look at."""

import json
from types import SimpleNamespace

import pytest

from deepmad_jax.data.shapes import draw_shapes


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes") / "set"
    # All lie, so that every step is compiled for one shape only.
    draw_shapes(root, {"train": 15, "val": 7}, sizes=((48, 64), (56, 96)))
    return root


@pytest.fixture(scope="session")
def trained(root, tmp_path_factory):
    """A run that nothing befell: its folder, last state, lines and predictions."""
    # Below: they stand beside this file, which pytest loads before it finds them.
    from test_detect_job import ARCH, config_of, lines_of

    from deepmad_jax.tasks import run
    from deepmad_jax.tasks.detect.task import DETECT

    workdir = tmp_path_factory.mktemp("trained")
    state = run.train(DETECT, config_of(root), ARCH, workdir)
    boxes = json.loads((workdir / "predictions" / "boxes.json").read_text())
    assert boxes
    return SimpleNamespace(workdir=workdir, state=state, lines=lines_of(workdir), boxes=boxes)
