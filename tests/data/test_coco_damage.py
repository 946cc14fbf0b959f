"""Annotations, records and masks that are broken: every one is told of, none is guessed at."""

import dataclasses
import json
import os

import numpy as np
import pytest
from coco_set import ANNOTATIONS, SIZES, write_set

from deepmad_jax.config import DataConfig, DetectConfig
from deepmad_jax.data import boxed, coco_images, coco_masks
from deepmad_jax.data.coco import check_masks, open_coco
from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.errors import MissingData, UserError


@pytest.fixture
def root(tmp_path):
    return write_set(tmp_path / "set")


def config_of(root, **fields):
    return DataConfig(data_dir=str(root), train_split="train", eval_split="val", **fields)


def rewrite(root, change, split="train"):
    """Annotations as ``change`` makes them of the parsed ones."""
    path = root / "annotations" / f"instances_{split}.json"
    values = json.loads(path.read_text())
    changed = change(values)
    path.write_text(json.dumps(values if changed is None else changed))


def first(kind, **fields):
    return lambda values: values[kind][0].update(fields)


BROKEN = {
    "a list": (lambda _: [1, 2], "TypeError"),
    "no images": (lambda v: v.pop("images") and v, "KeyError: 'images'"),
    "no ids": (lambda v: v["annotations"][0].pop("id") and v, "KeyError: 'id'"),
    "an image twice": (lambda v: v["images"].append(v["images"][0]), "two images have the id 7"),
    "a category twice": (
        lambda v: v["categories"].append({"id": 4, "name": "ship"}),
        "two categories have the id 4",
    ),
    "an annotation twice": (first("annotations", id=2), "two annotations have the id 2"),
    "no height": (first("images", height=0), "image 7 has height 0"),
    "a height in words": (first("images", height="40"), "image 7 has height '40'"),
    "a height past int32": (first("images", height=2**40), "annotation 2 has a segmentation"),
    "three corners": (first("annotations", bbox=[1, 2, 3]), r"annotation 1 has the bbox \[1, 2, 3"),
    "no number": (first("annotations", bbox=[1, 2, 3, float("nan")]), "annotation 1 has the bbox"),
    "half a point": (
        first("annotations", segmentation=[[1, 2, 3, 4, 5, 6, 7]]),
        "annotation 1 has a segmentation with a polygon",
    ),
    "runs too short": (
        first("annotations", segmentation={"counts": [10, 5], "size": [40, 60]}),
        "annotation 1 has a segmentation of runs that do not add up",
    ),
    "a mask of another size": (
        first("annotations", segmentation={"counts": "abc", "size": [60, 40]}),
        r"of \[60, 40\] pixels, where its image has \[40, 60\]",
    ),
    "a mask in words": (first("annotations", segmentation="none"), "neither polygons nor a run"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_annotations_are_refused_with_their_place(root, name):
    change, words = BROKEN[name]
    rewrite(root, change)
    with pytest.raises(UserError, match=rf"(?s)instances_train\.json as COCO.*{words}"):
        open_coco(config_of(root))


@pytest.mark.parametrize("text", ["", '{"images": [', "\xff\xfe", "[" * 100_000])
def test_a_file_cut_off_is_refused(root, text):
    (root / "annotations" / "instances_val.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"instances_val\.json as COCO annotations"):
        open_coco(config_of(root))


def test_annotations_that_belong_nowhere_are_told(root, capfd):
    open_coco(config_of(root))
    said = capfd.readouterr().err
    assert "instances_train.json; annotations left out, whose image_id" in said
    assert "categories: 1\n" in said

    def in_words(values):
        for annotation in values["annotations"]:
            annotation["image_id"] = str(annotation["image_id"])

    rewrite(root, in_words)
    with pytest.raises(MissingData, match=rf"to learn from; .* categories: {len(ANNOTATIONS)}\."):
        reopened(root)


def test_splits_of_other_categories_are_refused(root):
    rewrite(root, lambda v: v["categories"][0].update(name="wolf"), "val")
    with pytest.raises(UserError, match="have different categories"):
        open_coco(config_of(root))


def test_missing_masks_are_told_before_they_are_judged(root):
    dataset = open_coco(config_of(root))
    check_masks(dataset.evaluation)
    rewrite(root, first("annotations", segmentation=None), "val")
    dataset = reopened(root)
    words = r"1 of the 9 objects .*have no segmentation.*--config\.detect\.head=fcos"
    with pytest.raises(UserError, match=words):
        check_masks(dataset.evaluation)


def reopened(root):
    """The data set again, where its files have changed."""
    from deepmad_jax.data.coco_index import read_index

    read_index.cache_clear()
    return open_coco(config_of(root))


@pytest.mark.parametrize("length", [0, 10, 65536, -100])
def test_records_cut_off_are_told(root, length):
    records = root / "train.array_record"
    coco_images.pack([f"{key}.png" for key in SIZES], root / "train", records)
    os.truncate(records, length % records.stat().st_size)
    with pytest.raises(UserError, match=r"train\.array_record cannot be read .*pack_coco"):
        open_coco(config_of(root))


def test_an_image_with_a_broken_mask_is_named_and_replaced(root, capfd):
    # Five bits a character: these runs fill some other image.
    code = {"counts": "zzzz", "size": [40, 60]}
    rewrite(root, first("annotations", segmentation=code))
    detect = DetectConfig(short_sides=(48,), long_side=96, most_boxes=4, mask_px=28)
    share = {"batch_size": 2, "seed": 0, "process_index": 0, "process_count": 1}

    def batches(masks, corrupt_share):
        config = config_of(root, corrupt_share=corrupt_share)
        stream = boxed.train_batches(reopened(root), config, detect, masks=masks, **share)
        found = [next(stream) for _ in range(6)]
        stream.close()
        return found

    for batch in batches(True, 0.5):
        assert 0 not in batch["index"]
        # What stands in its place has the boxes, labels and masks of itself.
        for slot in range(2):
            count = (batch["label"][slot] >= 0).sum()
            assert not batch["boxes"][slot, count:].any()
            assert not batch["masks"][slot, count:].any()
    said = capfd.readouterr().err
    assert said.count("7.png: the segmentation of an object is broken") == 1
    assert "does not fill 40x60 pixels" in said
    with pytest.raises(CorruptData, match="corrupt_share"):
        batches(True, 0.0)
    assert any(0 in batch["index"] for batch in batches(False, 0.0))  # boxes alone are whole


def test_compressed_runs_are_those_that_pycocotools_compresses():
    rng = np.random.default_rng(0)
    for size in ((1, 1), (7, 300), (64, 48)):
        mask = (rng.random(size) < rng.random()).astype(np.uint8)
        code = coco_masks.coco_masks().encode(np.asfortranarray(mask))
        flat = mask.ravel(order="F")
        ends = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
        wanted = [0] * int(flat[0]) + np.diff(ends).tolist()
        given = {"counts": code["counts"].decode(), "size": list(size)}
        np.testing.assert_array_equal(coco_masks.mask_of(given, *size), mask)
        assert coco_masks._runs(code["counts"]) == wanted


def test_packing_names_what_is_missing_and_leaves_nothing(root, capsys):
    from launch.pack_coco import main

    assert main([str(root), "train"]) == 0
    assert "Packed 5 images" in capsys.readouterr().out
    assert len(open_coco(config_of(root)).train) == 3
    (root / "val" / "90.png").unlink()
    assert main([str(root), "val"]) == 2
    assert "name 90.png, which is not in" in capsys.readouterr().err
    assert not list(root.glob("val.array_record*"))


def test_a_missing_folder_of_images_is_named(root):
    (root / "val").rename(root / "elsewhere")
    with pytest.raises(MissingData, match=r"There is no .*/val: .*data_dir"):
        open_coco(config_of(root))
    with pytest.raises(MissingData, match="data_dir=DIR"):
        open_coco(dataclasses.replace(config_of(root), data_dir=None))
