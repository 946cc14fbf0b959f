"""What knows no frames says so of a network of clips, in one sentence."""

import dataclasses

import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, MeasureConfig
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.measure.points import points_of
from deepmad_jax.serve.app import _problem
from deepmad_jax.tasks import TASKS
from deepmad_jax.tasks.backbone import as_backbone

STAGES = (Stage("basic", 8, 8, 3, 1, 2, kernel_t=3),)
ARCH = Architecture("clips", 16, 3, 10, Stem(8), STAGES, frames=4)


def test_classification_shows_no_clips():
    with pytest.raises(InvalidConfig, match=r"clips of 4 frames, but this task has images"):
        TASKS["classify"].open(Config(), ARCH)


def test_detectors_and_segmenters_stand_on_no_network_of_clips():
    with pytest.raises(InvalidConfig, match=r"clips of 4 frames, but this task has images"):
        as_backbone(ARCH)
    images = dataclasses.replace(
        ARCH, frames=0, stages=(dataclasses.replace(STAGES[0], kernel_t=1),)
    )
    assert as_backbone(images) == images


def test_rows_are_timed_without_frames():
    with pytest.raises(InvalidConfig, match=r"design\.frames is 4, but rows are timed on maps"):
        points_of(Problem(block="basic", frames=4), MeasureConfig())


def test_the_live_page_has_no_field_for_frames():
    with pytest.raises(InvalidConfig, match="The page has no field 'frames'"):
        _problem({"frames": "4"})
