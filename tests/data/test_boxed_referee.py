"""Images, boxes and masks of training batches beside those that albumentations moves.

It resizes and mirrors whole images with their boxes and masks; ours moves boxes by arithmetic and
masks inside their boxes, and never makes a mask of the image's size.
"""

import collections
import dataclasses
import json
import os

import numpy as np
import pytest
from PIL import Image

from deepmad_jax.config import DataConfig, DetectConfig
from deepmad_jax.data import boxed
from deepmad_jax.data.coco import open_coco
from deepmad_jax.data.coco_index import read_index
from deepmad_jax.data.coco_masks import mask_of
from deepmad_jax.data.shapes import CATEGORIES, draw_shapes

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or it asks the network for a newer one
albumentations = pytest.importorskip("albumentations")

SIDE = 56
DETECT = DetectConfig(short_sides=(80, 100, 144), long_side=160, most_boxes=8, mask_px=SIDE)
TRIANGLE = list(CATEGORIES.values()).index("triangle")
"""The one shape that its mirror image is not."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("referee") / "set"
    draw_shapes(root, {"train": 24, "val": 8})
    return open_coco(DataConfig(data_dir=str(root), train_split="train", eval_split="val"))


def moved(annotated, pixels, size, mirrored):
    """Image, boxes and masks as albumentations moves them; boxes end at the image's edges."""
    learned = np.flatnonzero(annotated.usable())
    steps = [albumentations.Resize(*size), albumentations.HorizontalFlip(p=float(mirrored))]
    boxes = albumentations.BboxParams("pascal_voc", label_fields=["labels"], clip=True)
    shape = annotated.height, annotated.width
    given = albumentations.Compose(steps, bbox_params=boxes)(
        image=pixels,
        bboxes=annotated.boxes[learned],
        labels=annotated.labels[learned],
        masks=[mask_of(segmentation_of(annotated, i), *shape) for i in learned],
    )
    return given["image"], given["bboxes"], given["labels"], given["masks"]


def segmentation_of(annotated, i):
    return json.loads(annotated.segmentations[i])


def in_box(mask, box):
    """The pixels of an image's mask that lie under a square of `SIDE` laid over a box."""
    places = (np.arange(SIDE) + 0.5) / SIDE
    columns, rows = (box[k] + places * (box[k + 2] - box[k]) for k in range(2))
    rows, columns = rows.astype(int), columns.astype(int)
    return mask[rows.clip(max=mask.shape[0] - 1)[:, None], columns.clip(max=mask.shape[1] - 1)] > 0


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_images_boxes_and_masks_are_moved_as_albumentations_moves_them(dataset):
    stream = boxed.train_batches(
        dataset,
        dataclasses.replace(DataConfig(), flip=0.5),
        DETECT,
        masks=True,
        batch_size=2,
        seed=0,
        process_index=0,
        process_count=1,
    )
    index = read_index(dataset.train.annotations)
    seen, overlaps, turned = collections.Counter(), [], []
    for batch in (next(stream) for _ in range(24)):
        for slot in range(2):
            annotated = index[int(batch["index"][slot])]
            size = tuple(batch["size"][slot].tolist())
            ours = batch["image"][slot, : size[0], : size[1]]
            with Image.open(f"{dataset.train.images.folder}/{annotated.file}") as file:
                pixels = np.asarray(file)
            both = [moved(annotated, pixels, size, mirrored) for mirrored in (False, True)]
            mirrored = bool(np.abs(both[1][0].astype(int) - ours).mean() < 1)
            image, boxes, labels, masks = both[int(mirrored)]
            # The same resize by OpenCV; JPEGs are decoded by two builds of one library.
            assert np.abs(image.astype(int) - ours).max() <= 1
            count = int((batch["label"][slot] >= 0).sum())
            np.testing.assert_array_equal(batch["label"][slot, :count], labels)
            # It keeps boxes as shares of the image's sides, in float32.
            np.testing.assert_allclose(batch["boxes"][slot, :count], boxes, atol=1e-3)
            for place, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
                square = batch["masks"][slot, place] > 0
                overlaps.append(overlap(square, in_box(mask, box)))
                if labels[place] == TRIANGLE:
                    turned.append(overlap(square[:, ::-1], in_box(mask, box)))
            seen[size[0] > size[1], mirrored] += 1
    stream.close()
    assert len(seen) == 4  # lying and upright, mirrored and not
    assert min(seen.values()) > 2
    # An edge of pycocotools' masks is off by up to half a pixel: of the image's pixels, 20 to 64 a
    # shape, in theirs, and of a square's 56 in ours.
    assert min(overlaps) > 0.85
    assert np.mean(overlaps) > 0.92
    assert np.mean(turned) < 0.8
