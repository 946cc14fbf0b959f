"""A small COCO data set on disk, written by hand: gaps in ids, crowds, empty and odd images."""

import json

import numpy as np
from PIL import Image

SQUARE = [10.0, 6.0, 40.0, 6.0, 40.0, 26.0, 10.0, 26.0]
TWO_PARTS = [[2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0], [20.0, 20.0, 34.0, 20.0, 27.0, 34.0]]
SIZES = {7: (40, 60), 30: (64, 48), 31: (50, 50), 90: (36, 44), 91: (20, 80)}
"""Image id -> height and width."""


def annotation(number, image, category, box, area, segmentation, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": area,
        "segmentation": segmentation,
        "iscrowd": crowd,
    }


RLE = {"counts": [40 * 5 + 10, 8, 32, 8, 40 * 60 - 40 * 5 - 10 - 48], "size": [40, 60]}
SMALL_CROWD = {"counts": [50 * 5 + 5, 20, 2500 - 275], "size": [50, 50]}
ANNOTATIONS = [
    annotation(1, 7, 18, [10, 6, 30, 20], 600, [SQUARE]),
    annotation(2, 7, 4, [5, 10, 2, 8], 16, RLE, crowd=1),
    annotation(3, 30, 4, [2, 2, 32, 32], 200, TWO_PARTS),
    annotation(4, 30, 18, [40, 50, 30, 30], 400, [[40, 50, 70, 50, 70, 80, 40, 80]]),  # leaves it
    annotation(5, 30, 18, [60, 10, 5, 5], 25, [[60, 10, 65, 10, 65, 15]]),  # wholly off it
    annotation(6, 30, 18, [10, 10, 0.5, 9], 4, [[10, 10, 10.5, 10, 10.5, 19]]),  # flat
    annotation(7, 30, 18, [10, 10, 6, 9], 0, [[10, 10, 16, 10, 16, 19]]),  # no area
    annotation(8, 31, 4, [5, 5, 20, 20], 400, SMALL_CROWD, crowd=1),
    annotation(9, 91, 4, [5, 5, 20, 10], 200, [[5, 5, 25, 5, 25, 15, 5, 15]]),  # image too low
    annotation(10, 555, 4, [5, 5, 20, 10], 200, []),  # of no image
]


def picture(height, width, number):
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 0 * x + 2 * number], -1).astype(np.uint8)


def write_set(root, splits=("train", "val")):
    (root / "annotations").mkdir(parents=True)
    images = [
        {"id": key, "file_name": f"{key}.png", "height": h, "width": w}
        for key, (h, w) in SIZES.items()
    ]
    categories = [{"id": 18, "name": "dog"}, {"id": 4, "name": "plane"}]
    text = json.dumps({"images": images, "annotations": ANNOTATIONS, "categories": categories})
    for split in splits:
        (root / split).mkdir()
        (root / "annotations" / f"instances_{split}.json").write_text(text)
        for key, size in SIZES.items():
            Image.fromarray(picture(*size, key)).save(root / split / f"{key}.png")
    return root
