import json

import pytest
from PIL import Image
from test_report_page import parse

from deepmad_jax.report import write
from deepmad_jax.report.read import read_pixels
from deepmad_jax.report.segmentation import class_table, confusion_list

NUMBERS = {
    "names": ["sky", "<b>ground</b>", "cat"],
    "miou": 0.5,
    "macc": 0.625,
    "aacc": 0.8,
    "iou": [0.75, 0.25, None],
    "accuracy": [0.75, 0.5, None],
    "pixels": [8, 2, 0],
    "confusion": [[6, 2, 0], [1, 1, 0], [0, 0, 0]],
    "overlays": [{"file": "overlay0.png", "image": "a.jpg"}, {"file": "../../gone.png"}],
}


@pytest.fixture
def segmented(workdir):
    (workdir / "design.json").unlink()  # for speed: fewer pictures
    folder = workdir / "predictions"
    folder.mkdir()
    (folder / "segmentation.json").write_text(json.dumps(NUMBERS))
    Image.new("RGB", (4, 3)).save(folder / "overlay0.png")
    return workdir


def test_report_shows_classes_confusions_and_coloured_images(segmented):
    page = parse(write(segmented))
    assert {"75.00 %", "25.00 %", "62.50 %"} <= set(page.text["td"])
    assert "<b>ground</b>" in page.text["td"]
    assert "Pixels" in page.text["h2"]
    assert page.tags.count("img") == 1  # the other's file is not there
    assert (segmented / "confusion.png").exists()


def test_tables_have_the_numbers_of_the_file():
    rows = class_table(NUMBERS).rows
    assert rows[2] == ("cat", "-", "-", "0")
    assert rows[-1] == ("mean", "50.00 %", "62.50 %", "10")
    found = confusion_list(NUMBERS).rows
    assert found == (
        ("sky", "<b>ground</b>", "2", "25.00 %"),
        ("<b>ground</b>", "sky", "1", "50.00 %"),
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"names": []}', json.dumps({**NUMBERS, "confusion": [[1]]})]
)
def test_numbers_that_cannot_be_read_are_left_out(segmented, text):
    (segmented / "predictions" / "segmentation.json").write_text(text)
    assert read_pixels(segmented) == {}
    assert "Pixels" not in parse(write(segmented)).text["h2"]


def test_a_run_without_predictions_has_no_such_section(workdir):
    assert read_pixels(workdir) == {}
