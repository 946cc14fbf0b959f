import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from coco_set import SIZES, SQUARE, TWO_PARTS, write_set
from PIL import Image

from deepmad_jax.config import DataConfig
from deepmad_jax.data import coco_images, coco_masks
from deepmad_jax.data.coco import open_coco
from deepmad_jax.data.coco_index import read_index
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.errors import MissingData, UserError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "detect" / "mask_decode.npz"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("coco") / "set")


def config_of(root, **fields):
    return DataConfig(data_dir=str(root), train_split="train", eval_split="val", **fields)


def test_polygons_and_run_lengths_are_pycocotools():
    with np.load(FIXTURE) as file:
        arrays = dict(file)
    height, width = arrays["size"].tolist()
    for name in sorted({key.split("/")[0] for key in arrays if "/" in key}):
        parts = sorted(key for key in arrays if key.startswith(f"{name}/part"))
        code = bytes(arrays[f"{name}/rle_string"]).decode()
        for segmentation in (
            [arrays[part] for part in parts],
            {"counts": arrays[f"{name}/rle_counts"].tolist(), "size": [height, width]},
            {"counts": code, "size": [height, width]},
        ):
            found = coco_masks.mask_of(segmentation, height, width)
            np.testing.assert_array_equal(found, arrays[f"{name}/mask"])
        assert found.sum() == arrays[f"{name}/area"]


def test_category_ids_with_gaps_become_labels_in_their_order(root):
    dataset = open_coco(config_of(root))
    assert dataset.names == ("plane", "dog")
    assert read_index(dataset.train.annotations).categories == (4, 18)
    first = dataset.train[0]["annotated"]
    assert first.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(first.boxes[0], [10, 6, 40, 26])


def test_training_leaves_out_what_teaches_nothing_and_the_evaluation_nothing(root):
    dataset = open_coco(config_of(root))
    assert [dataset.train[i]["annotated"].id for i in range(len(dataset.train))] == [7, 30, 31]
    ids = [dataset.evaluation[i]["annotated"].id for i in range(len(dataset.evaluation))]
    assert ids == list(SIZES)
    usable = [dataset.train[i]["annotated"].usable().tolist() for i in range(3)]
    assert usable == [[True, False], [True, True, False, False, False], [False]]


def test_a_source_is_small_when_it_is_sent_to_a_worker(root):
    source = open_coco(config_of(root)).train
    assert len(pickle.dumps(source)) < 1000
    again = pickle.loads(pickle.dumps(source))
    assert again[1]["image"] == source[1]["image"]


def test_packed_images_are_those_of_the_folder(root, tmp_path):
    there = tmp_path / "set"
    there.mkdir()
    (there / "annotations").symlink_to(root / "annotations")
    for split in ("train", "val"):
        files = read_index(str(root / "annotations" / f"instances_{split}.json")).files
        coco_images.pack(files, root / split, there / f"{split}.array_record")
    ours, folders = open_coco(config_of(there)), open_coco(config_of(root))
    for packed, loose in ((ours.train, folders.train), (ours.evaluation, folders.evaluation)):
        assert [packed[i]["image"] for i in range(len(packed))] == [
            loose[i]["image"] for i in range(len(loose))
        ]
    assert "record 1" in ours.evaluation.name_of(1)


def test_records_that_are_not_as_many_as_the_images_are_refused(root, tmp_path):
    there = write_set(tmp_path / "set")
    annotations = there / "annotations" / "instances_train.json"
    files = [f"{key}.png" for key in SIZES]
    coco_images.pack(files, there / "train", there / "train.array_record")
    values = json.loads(annotations.read_text())
    values["images"] = values["images"][:-1]
    annotations.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"5 records.*4 images"):
        open_coco(config_of(there))


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(MissingData, match="data_dir=DIR"):
        open_coco(DataConfig())
    with pytest.raises(MissingData, match=r"instances_test.json"):
        open_coco(dataclasses.replace(config_of(root), eval_split="test"))
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / "annotations" / f"instances_{split}.json").write_text('{"images": [1]}')
    with pytest.raises(UserError, match="as COCO annotations"):
        open_coco(config_of(tmp_path))


def test_an_image_that_is_not_there_is_corrupt(root, tmp_path):
    there = write_set(tmp_path / "set")
    (there / "train" / "7.png").unlink()
    with pytest.raises(CorruptImage):
        open_coco(config_of(there)).train[0]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([SQUARE], (10, 6, 40, 26)),
        (TWO_PARTS, (2, 2, 34, 34)),
        ([[4.0, 4.0, 30.0, 8.0, 16.0, 36.0]], (4, 4, 30, 36)),
    ],
)
@pytest.mark.parametrize("coded", [False, True])
def test_a_mask_in_its_box_is_the_images_mask_cut_out_and_resized(
    segmentation, box, mirrored, coded
):
    height, width, side = 40, 60, 56
    whole = coco_masks.mask_of(segmentation, height, width)
    given = segmentation
    if coded:
        code = coco_masks.coco_masks().encode(np.asfortranarray(whole))
        given = {"size": code["size"], "counts": code["counts"].decode()}
    found = coco_masks.mask_in_box(
        json.dumps(given).encode(), np.array(box, float), height, width, side, mirrored
    )
    picture = Image.fromarray(255 * whole)
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box = (width - box[2], box[1], width - box[0], box[3])
    wanted = np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box)) >= 128
    # A polygon is rasterised at the square's own pixels, Pillow resizes the image's: their edges
    # differ by less than a pixel of the image.
    assert (found != wanted).mean() < (0.02 if coded else 0.06)
