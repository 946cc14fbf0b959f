"""COCO's JSON of annotations as a few flat arrays, and what of it is no COCO.

Masks are kept as the text they are written in until an image is asked for: a fifth of what Python's
own objects would take. Boxes become (x1, y1, x2, y2); category ids, which may have gaps, become 0,
1, ... in their order.

Source: cocodataset.org, "Data format".
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Annotated:
    """One image as the JSON has it.

    Attributes:
        id, file: of the image; the file's name is relative to the split's folder.
        height, width: pixels.
        boxes: (x1, y1, x2, y2), pixels, float32 (n, 4).
        labels: 0, 1, ..., int32 (n,).
        crowd: whether it stands for many objects, boolean (n,).
        areas: of the objects, square pixels, float32 (n,).
        segmentations: JSON text each: polygons, or a run-length code, or null.
    """

    id: int
    file: str
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    segmentations: tuple[bytes, ...]

    def usable(self) -> np.ndarray:
        """The objects that are learned, boolean (n,): no crowds, nothing flat or off the image."""
        x1, y1, x2, y2 = self.boxes.T
        seen_width = np.minimum(x2, self.width) - np.maximum(x1, 0)
        seen_height = np.minimum(y2, self.height) - np.maximum(y1, 0)
        thick = (x2 - x1 >= 1) & (y2 - y1 >= 1)
        return thick & (self.areas > 0) & (seen_width > 0) & (seen_height > 0) & ~self.crowd


@dataclasses.dataclass(frozen=True)
class Index:
    """A whole annotation file: ``self[i]`` is its image i.

    Attributes:
        ids, files: of the images, in the file's order.
        sizes: height and width, int32 (images, 2).
        starts: where each image's objects begin in the arrays of them, int64 (images + 1,).
        boxes, labels, crowd, areas: of all objects; see `Annotated`.
        text: their segmentations, one after the other.
        text_starts: where each begins, int64 (objects + 1,).
        categories, names: ids and names by label.
        num_strays: annotations of images or categories that are not in the file, left out.
    """

    ids: tuple[int, ...]
    files: tuple[str, ...]
    sizes: np.ndarray
    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    text: bytes
    text_starts: np.ndarray
    categories: tuple[int, ...]
    names: tuple[str, ...]
    num_strays: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Annotated:
        part = slice(int(self.starts[i]), int(self.starts[i + 1]))
        ends = self.text_starts[part.start : part.stop + 1].tolist()
        return Annotated(
            self.ids[i],
            self.files[i],
            *self.sizes[i].tolist(),
            self.boxes[part],
            self.labels[part],
            self.crowd[part],
            self.areas[part],
            tuple(self.text[a:b] for a, b in itertools.pairwise(ends)),
        )


@functools.lru_cache(maxsize=4)
def read_index(path: str) -> Index:
    """The annotations in a file; kept, so that it is read once.

    Raises:
        UserError: it is no COCO file of objects; says which image or annotation is wrong.
    """
    try:
        values = json.loads(Path(path).read_bytes())
        return _index_of(values["images"], values["annotations"], values["categories"])
    except _WRONG as error:
        raise UserError(
            f"Cannot read {path} as COCO annotations ({type(error).__name__}: {error}): it must be "
            "JSON with images, annotations and categories."
        ) from error


_WRONG = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, RecursionError),  # a number past int32, brackets in brackets
)
"""What reading a file that is no COCO raises."""


def _index_of(images: list[Any], annotations: list[Any], categories: list[Any]) -> Index:
    # By id, not by place in the file: what a label means must not depend on the order.
    categories = sorted(categories, key=lambda category: category["id"])
    label_of = _places([category["id"] for category in categories], "categories")
    place_of = _places([image["id"] for image in images], "images")
    sizes = [(image["height"], image["width"]) for image in images]
    for image, size in zip(images, sizes, strict=True):
        if not all(isinstance(x, int | float) and x > 0 and x == int(x) for x in size):
            raise ValueError(f"image {image['id']} has height {size[0]!r} and width {size[1]!r}")
    objects = [a for a in annotations if a["image_id"] in place_of and a["category_id"] in label_of]
    objects.sort(key=lambda a: place_of[a["image_id"]])
    _places([a["id"] for a in annotations], "annotations")
    for a in objects:
        _check_segmentation(a, sizes[place_of[a["image_id"]]])
    places = np.array([place_of[a["image_id"]] for a in objects], np.int64)
    boxes = _boxes_of(objects)
    text, text_starts = _texts([a.get("segmentation") for a in objects])
    return Index(
        ids=tuple(place_of),
        files=tuple(image["file_name"] for image in images),
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        starts=np.searchsorted(places, np.arange(len(images) + 1)),
        boxes=boxes,
        labels=np.array([label_of[a["category_id"]] for a in objects], np.int32),
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in objects], bool),
        areas=np.array([a["area"] for a in objects], np.float32),
        text=text,
        text_starts=text_starts,
        categories=tuple(label_of),
        names=tuple(str(category.get("name", category["id"])) for category in categories),
        num_strays=len(annotations) - len(objects),
    )


def _places(ids: list[Hashable], what: str) -> dict[Hashable, int]:
    places = {key: place for place, key in enumerate(ids)}
    if len(places) != len(ids):
        twice = next(key for place, key in enumerate(ids) if places[key] != place)
        raise ValueError(f"two {what} have the id {twice}")
    return places


def _boxes_of(objects: list[Any]) -> np.ndarray:
    """Corners of all objects, float32 (n, 4)."""
    wrong = [a for a in objects if len(a["bbox"]) != 4]
    if not wrong:
        # All at once: COCO has a million of them.
        boxes = np.array([a["bbox"] for a in objects], np.float32).reshape(-1, 4)
        wrong = [objects[i] for i in np.flatnonzero(~np.isfinite(boxes).all(1))]
    if wrong:
        raise ValueError(
            f"annotation {wrong[0]['id']} has the bbox {wrong[0]['bbox']}, not four numbers"
        )
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _check_segmentation(annotation: dict[str, Any], size: tuple[int, int]) -> None:
    """Refuses what pycocotools would rasterise as anything at all."""
    given, why = annotation.get("segmentation"), ""
    if isinstance(given, dict):
        counts = given["counts"]
        if tuple(given["size"]) != size:
            why = f"of {given['size']} pixels, where its image has {list(size)}"
        elif isinstance(counts, list) and (min(counts) < 0 or sum(counts) != size[0] * size[1]):
            why = f"of runs that do not add up to its image of {list(size)} pixels"
    elif isinstance(given, list):
        if any(not isinstance(part, list) or len(part) % 2 for part in given):
            why = "with a polygon that is no list of x and y in turn"
    elif given is not None:
        why = "that is neither polygons nor a run-length code"
    if why:
        raise ValueError(f"annotation {annotation['id']} has a segmentation {why}")


def _texts(segmentations: Sequence[Any]) -> tuple[bytes, np.ndarray]:
    texts = [json.dumps(value, separators=(",", ":")).encode() for value in segmentations]
    return b"".join(texts), np.cumsum([0, *map(len, texts)], dtype=np.int64)
