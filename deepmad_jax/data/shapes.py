"""Small COCO-format sets of drawn shapes: discs, rectangles and triangles, with boxes and polygons.

They have what real annotations have: images of several sizes, images without objects, crowds as
run-length codes, category ids with gaps, shapes that overlap and that leave the image.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deepmad_jax.data.coco_masks import coco_masks

CATEGORIES = {3: "disc", 7: "rectangle", 20: "triangle"}
"""Id -> name."""

SIZES = ((96, 128), (128, 96), (112, 128), (128, 128), (80, 120))
"""Heights and widths of the images, in turn, where nothing else is asked for."""

SMALLEST_PX, LARGEST_PX = 20, 64
"""Sides of the shapes."""

EVERY_EMPTY, EVERY_CROWD = 9, 7
"""One image of so many has no object; one has a crowd."""

MOST_SHARED_PX = 30
"""Pixels of one shape that another may cover: none is hidden."""

CORNERS_OF_A_DISC = 32
NOISE = 12.0


def draw_shapes(
    root: Path,
    images: dict[str, int],
    seed: int = 0,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> None:
    """Writes ``annotations/instances_SPLIT.json`` and ``SPLIT/*.jpg`` below ``root``.

    Args:
        root: made where it is not there.
        images: how many, by split.
        seed: of everything that is drawn.
        sizes: heights and widths of the images, in turn.
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for place, (split, count) in enumerate(images.items()):
        rng = np.random.Generator(np.random.Philox((seed, place)))
        (root / split).mkdir(exist_ok=True)
        described: dict[str, list[Any]] = {"images": [], "annotations": []}
        for number in range(count):
            pixels, objects = _scene(rng, number, sizes[number % len(sizes)])
            # Ids with gaps too: nothing may take them for places.
            image = {"id": 11 + 3 * number, "file_name": f"{number:06}.jpg"}
            image |= {"height": pixels.shape[0], "width": pixels.shape[1]}
            bgr = np.ascontiguousarray(pixels[..., ::-1])
            cv2.imwrite(str(root / split / image["file_name"]), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
            described["images"].append(image)
            for found in objects:
                new = {"id": 5 + 2 * len(described["annotations"]), "image_id": image["id"]}
                described["annotations"].append(new | found)
        categories = [{"id": key, "name": name} for key, name in CATEGORIES.items()]
        text = json.dumps(described | {"categories": categories})
        (root / "annotations" / f"instances_{split}.json").write_text(text)


def _scene(
    rng: np.random.Generator, number: int, size: tuple[int, int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """An image, RGB uint8, and the annotations of what is on it."""
    height, width = size
    ground = rng.uniform(60, 200, 3) + rng.normal(0, NOISE, (height, width, 3))
    image = np.clip(ground, 0, 255).astype(np.uint8)
    if number % EVERY_EMPTY == EVERY_EMPTY - 1:
        return image, []
    objects = []
    if number % EVERY_CROWD == EVERY_CROWD - 1:
        objects.append(_crowd(rng, image))
    seen = np.zeros((height, width), bool)
    for _ in range(int(rng.integers(1, 4))):
        category = int(rng.choice(list(CATEGORIES)))
        corners = _corners(rng, category, height, width)
        shape = np.zeros((height, width), np.uint8)
        cv2.fillPoly(shape, [np.round(corners).astype(np.int32)], 1)
        if (seen & (shape > 0)).sum() > MOST_SHARED_PX or shape.sum() < 4 * MOST_SHARED_PX:
            continue
        seen |= shape > 0
        image[shape > 0] = _colour(rng, ground.mean((0, 1)))
        objects.append(_annotation(corners, category, height, width))
    return image, objects


def _corners(rng: np.random.Generator, category: int, height: int, width: int) -> np.ndarray:
    """Corners (x, y) of a shape, some of which may lie off the image."""
    side = rng.uniform(SMALLEST_PX, LARGEST_PX)
    centre = np.array([rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height])
    turn = rng.uniform(0, 2 * math.pi)
    name = CATEGORIES[category]
    if name == "rectangle":
        half = side / 2 * np.array([1.0, rng.uniform(0.6, 1.0)])
        local = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        turn = rng.uniform(-0.3, 0.3)
    else:
        count = 3 if name == "triangle" else CORNERS_OF_A_DISC
        angles = 2 * math.pi * np.arange(count) / count
        local = side / 2 * np.stack([np.cos(angles), np.sin(angles)], 1)
    cos, sin = math.cos(turn), math.sin(turn)
    return centre + local @ np.array([[cos, sin], [-sin, cos]])


def _annotation(corners: np.ndarray, category: int, height: int, width: int) -> dict[str, Any]:
    """Box and polygon, cut off at the image's edges as people draw them."""
    corners = np.clip(corners, 0, [width, height])
    low, high = corners.min(0), corners.max(0)
    polygon = [round(value, 2) for value in corners.ravel().tolist()]
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    return {
        "category_id": category,
        "bbox": [round(value, 2) for value in (*low.tolist(), *(high - low).tolist())],
        "area": round(float(area), 2),
        "iscrowd": 0,
        "segmentation": [polygon],
    }


def _crowd(rng: np.random.Generator, image: np.ndarray) -> dict[str, Any]:
    """Many small discs, drawn in a corner of the image, as one annotation."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(12):
        centre = (int(rng.integers(4, 40)), int(rng.integers(4, 30)))
        cv2.circle(mask, centre, 4, 1, -1)
    image[mask > 0] = _colour(rng, image.mean((0, 1)))
    rows, columns = np.nonzero(mask)
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends.tolist(), len(flat)]).tolist()
    codes = coco_masks()
    code = codes.frPyObjects({"counts": runs, "size": [height, width]}, height, width)
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    return {
        "category_id": 3,
        "bbox": [float(value) for value in box],
        "area": float(codes.area(code)),
        "iscrowd": 1,
        "segmentation": {"counts": runs, "size": [height, width]},
    }


def _colour(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour that stands out from the mean of the ground."""
    while True:
        colour = rng.uniform(0, 255, 3)
        if np.abs(colour - ground).max() > 80:
            return colour.astype(np.uint8)
