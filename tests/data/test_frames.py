"""Which frames and boxes, against what mmaction2 gave (tests/fixtures/video/tsn.npz)."""

import re
from pathlib import Path

import numpy as np
import pytest

from deepmad_jax.data.frames import (
    drawn_frames,
    five_boxes,
    judged_boxes,
    middle_frames,
    multiscale_box,
)

FILE = Path(__file__).parent.parent / "fixtures" / "video" / "tsn.npz"
DRAWS = 4000


@pytest.fixture(scope="module")
def recorded():
    with np.load(FILE) as arrays:
        return {name: arrays[name] for name in arrays.files}


def sizes_of(recorded, kind):
    for name in recorded:
        if name.startswith(f"{kind}/"):
            height, width = map(int, name.partition("/")[2].split("x"))
            yield name, width, height


def test_judged_frames_of_every_length_are_those_recorded(recorded):
    found = [re.fullmatch(r"test/segments(\d+)_start(\d)", name) for name in recorded]
    cases = [match for match in found if match]
    assert len(cases) >= 4
    for match in cases:
        segments, first = int(match[1]), int(match[2])
        for length, wanted in zip(recorded["lengths"], recorded[match[0]], strict=True):
            np.testing.assert_array_equal(middle_frames(int(length), segments) + first, wanted)


def test_drawn_frames_of_every_length_span_those_recorded(recorded):
    cases = [re.fullmatch(r"train/segments(\d+)_min", name) for name in recorded]
    for match in filter(None, cases):
        segments = int(match[1])
        least, most, distinct = (
            recorded[f"train/segments{segments}_{what}"] for what in ("min", "max", "distinct")
        )
        for place, length in enumerate(recorded["lengths"]):
            parts = int(length) // segments
            # As many as make it all but certain that both ends of a part are drawn.
            draws = max(100, 20 * parts)
            rng = np.random.default_rng(place)
            seen = np.stack([drawn_frames(rng, int(length), segments) for _ in range(draws)])
            np.testing.assert_array_equal(seen.min(0), least[place])
            np.testing.assert_array_equal(seen.max(0), most[place])
            # What is drawn once is drawn always, there as here.
            assert (distinct[place] == 1) == (len(np.unique(seen, axis=0)) == 1)


def test_frames_of_parts_are_drawn_evenly():
    rng = np.random.default_rng(0)
    seen = np.stack([drawn_frames(rng, 17, 4) for _ in range(DRAWS)])
    counts = np.stack([np.bincount(column, minlength=17) for column in seen.T])
    wanted = np.zeros((4, 17))
    for part in range(4):
        wanted[part, 4 * part : 4 * part + 4] = DRAWS / 4
    # Six deviations of a count; the last frame, left over by 17 // 4, is in no part.
    assert abs(counts - wanted).max() < 6 * np.sqrt(DRAWS / 4)
    assert (counts[wanted == 0] == 0).all()


@pytest.mark.parametrize(("kind", "crops", "side"), [("threecrop", "three", 256)])
def test_boxes_of_three_crops_are_those_recorded(recorded, kind, crops, side):
    for name, width, height in sizes_of(recorded, kind):
        assert judged_boxes(width, height, crops, side) == [tuple(x) for x in recorded[name]]


def test_boxes_of_ten_crops_are_those_recorded_each_for_two(recorded):
    for name, width, height in sizes_of(recorded, "tencrop"):
        ours = judged_boxes(width, height, "ten", 224)
        # Each stands there twice, the second time for its mirror image.
        assert [box for box in ours for _ in range(2)] == [tuple(x) for x in recorded[name]]


def test_the_centre_box_is_that_recorded(recorded):
    for name, width, height in sizes_of(recorded, "centercrop"):
        assert judged_boxes(width, height, "one", 224) == [tuple(recorded[name])]


def test_multiscale_boxes_are_those_that_can_occur(recorded):
    scales = (1.0, 0.875, 0.75, 0.66)
    rng = np.random.default_rng(0)
    for name, width, height in sizes_of(recorded, "multiscalecrop"):
        wanted = {tuple(int(x) for x in box) for box in recorded[name]}
        seen = {multiscale_box(rng, width, height, scales) for _ in range(3000)}
        assert seen == wanted


def test_boxes_of_an_upright_frame_are_those_of_a_lying_one_turned():
    lying = five_boxes(340, 256, (224, 192))
    upright = five_boxes(256, 340, (192, 224))
    turned = {(top, left, bottom, right) for left, top, right, bottom in lying}
    assert set(upright) == turned
    assert judged_boxes(256, 341, "three", 256) == [
        (0, 0, 256, 256), (0, 84, 256, 340), (0, 42, 256, 298),
    ]  # fmt: skip
