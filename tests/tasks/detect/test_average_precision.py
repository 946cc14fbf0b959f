import json

import numpy as np
import pytest
from detect_fixtures import FOLDER, load

from deepmad_jax.tasks.detect.average_precision import NUMBERS, Judge
from deepmad_jax.tasks.detect.evaluation import judged

FIXTURE = load("coco_ap")


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_numbers_are_those_recorded_of_pycocotools(kind):
    results = json.loads((FOLDER / f"coco_dt_{kind}.json").read_text())
    found = Judge(str(FOLDER / "coco_gt.json"))(results, kind)
    wanted = FIXTURE[f"{kind}/stats"]
    ours = [found.numbers[name] for name in NUMBERS]
    np.testing.assert_allclose(ours, np.where(wanted < 0, np.nan, wanted), atol=1e-6)
    np.testing.assert_allclose(found.per_class, FIXTURE[f"{kind}/ap_per_category"], atol=1e-6)


def test_masks_are_small_or_large_by_themselves_and_results_stay_as_they_were():
    results = json.loads((FOLDER / "coco_dt_segm.json").read_text())
    for result in results:
        result["bbox"] = [0.0, 0.0, 500.0, 500.0]  # large, whatever the mask is
    before = json.dumps(results)
    numbers, tables = judged(results, Judge(str(FOLDER / "coco_gt.json")), masks=True)
    assert [name for name, _ in tables] == ["box", "mask"]
    wanted = dict(zip(NUMBERS, FIXTURE["segm/stats"], strict=True))
    ours = {name.removeprefix("mask_"): v for name, v in numbers.items() if "mask_" in name}
    assert ours == pytest.approx({name: v for name, v in wanted.items() if v >= 0}, abs=1e-6)
    assert json.dumps(results) == before


def test_finding_nothing_is_worth_nothing():
    found = Judge(str(FOLDER / "coco_gt.json"))([], "bbox")
    assert found.numbers["ap"] == found.numbers["ar100"] == 0.0


def test_a_judge_judges_again_what_it_judged_before():
    results = json.loads((FOLDER / "coco_dt_bbox.json").read_text())
    judge = Judge(str(FOLDER / "coco_gt.json"))
    first = judge(results, "bbox").numbers
    judge(results[:3], "bbox")
    assert judge(results, "bbox").numbers == first
