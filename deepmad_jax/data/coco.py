"""Images with boxes and masks as COCO writes them: one JSON of annotations, and the images.

Opening reads the JSON, no image. It is kept as a few flat arrays, masks as the text they are
written in until an image is asked for: a fifth of what Python's own objects would take. Boxes
become (x1, y1, x2, y2); category ids, which may have gaps, become 0, 1, ... in their order.

Source: cocodataset.org, "Data format"; what is left out of training is mmdetection's choice.
"""

import dataclasses
import functools
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.config import DataConfig
from deepmad_jax.data.coco_images import FolderImages, Images, RecordImages
from deepmad_jax.errors import MissingData, UserError

LEAST_SIDE_PX = 32
"""Images with a shorter side are not trained on."""


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


@dataclasses.dataclass(frozen=True)
class CocoSource:
    """The images of one split: elements ``{"image", "index", "annotated"}``.

    Worker processes get only the paths, and read the annotations once themselves.

    Attributes:
        annotations: the JSON.
        images: where their bytes are.
        numbers: places of the images in the JSON.
    """

    annotations: str
    images: Images
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.numbers[index]
        annotated = read_index(self.annotations)[number]
        data = self.images.read(number, annotated.file)
        return {"image": data, "index": number, "annotated": annotated}

    def name_of(self, index: int) -> str:
        number = self.numbers[index]
        return self.images.name_of(number, read_index(self.annotations).files[number])

    def only(self, upright: bool) -> "CocoSource":
        """Its images that are higher than wide, or those that are not."""
        sizes = read_index(self.annotations).sizes
        kept = tuple(n for n in self.numbers if (sizes[n, 0] > sizes[n, 1]) == upright)
        return dataclasses.replace(self, numbers=kept)


@dataclasses.dataclass(frozen=True)
class CocoDataset:
    """An opened data set: `train` without images that teach nothing, `evaluation` with all.

    Attributes:
        name: for messages.
        train, evaluation: of the splits.
        names: of the classes, by label.
    """

    name: str
    train: CocoSource
    evaluation: CocoSource
    names: tuple[str, ...]

    @property
    def classes(self) -> int:
        return len(self.names)


def open_coco(config: DataConfig) -> CocoDataset:
    """The splits ``train_split`` and ``eval_split`` below ``data_dir``.

    Raises:
        MissingData: a file of annotations, or the images, are not there.
        UserError: a file that is not COCO's, or splits with different categories.
    """
    if config.data_dir is None:
        raise MissingData(
            "Detection reads COCO's layout: give the folder that holds annotations/ and the "
            "images, with --config.data.data_dir=DIR."
        )
    root = Path(config.data_dir).expanduser()
    train, evaluation = (_split(root, name) for name in (config.train_split, config.eval_split))
    learned, judged = read_index(train.annotations), read_index(evaluation.annotations)
    if (learned.categories, learned.names) != (judged.categories, judged.names):
        raise UserError(
            f"{train.annotations} and {evaluation.annotations} have different categories: both "
            "need the same ids and names."
        )
    numbers = tuple(n for n in range(len(learned)) if _teaches(learned, n))
    if not numbers:
        raise MissingData(f"No image of {train.annotations} has an annotation to learn from.")
    if not len(judged.crowd) or judged.crowd.all():
        raise MissingData(f"No image of {evaluation.annotations} has an object to be judged by.")
    train = dataclasses.replace(train, numbers=numbers)
    return CocoDataset(root.name, train, evaluation, learned.names)


@functools.lru_cache(maxsize=4)
def read_index(path: str) -> Index:
    """The annotations in a file; kept, so that it is read once.

    Raises:
        UserError: it is no COCO file of objects.
    """
    try:
        values = json.loads(Path(path).read_bytes())
        # By id, not by place in the file: what a label means must not depend on the order.
        categories = sorted(values["categories"], key=lambda category: category["id"])
        label_of = {category["id"]: label for label, category in enumerate(categories)}
        place_of = {image["id"]: place for place, image in enumerate(values["images"])}
        objects = [
            a
            for a in values["annotations"]
            if a["image_id"] in place_of and a["category_id"] in label_of
        ]
        objects.sort(key=lambda a: place_of[a["image_id"]])
        places = np.array([place_of[a["image_id"]] for a in objects], np.int64)
        boxes = np.array([a["bbox"] for a in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        text, text_starts = _texts([a.get("segmentation") for a in objects])
        return Index(
            ids=tuple(image["id"] for image in values["images"]),
            files=tuple(image["file_name"] for image in values["images"]),
            sizes=np.array(
                [[image["height"], image["width"]] for image in values["images"]], np.int32
            ).reshape(-1, 2),
            starts=np.searchsorted(places, np.arange(len(values["images"]) + 1)),
            boxes=boxes,
            labels=np.array([label_of[a["category_id"]] for a in objects], np.int32),
            crowd=np.array([bool(a.get("iscrowd", 0)) for a in objects], bool),
            areas=np.array([a["area"] for a in objects], np.float32),
            text=text,
            text_starts=text_starts,
            categories=tuple(label_of),
            names=tuple(str(category.get("name", category["id"])) for category in categories),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"Cannot read {path} as COCO annotations ({type(error).__name__}: {error}): it must be "
            "JSON with images, annotations and categories."
        ) from error


def _split(root: Path, name: str) -> CocoSource:
    annotations = root / "annotations" / f"instances_{name}.json"
    folder, records = root / name, root / f"{name}.array_record"
    if not annotations.exists() or not (folder.is_dir() or records.exists()):
        missing = annotations if not annotations.exists() else folder
        raise MissingData(
            f"There is no {missing}: expected annotations/instances_{name}.json and the images in "
            f"{name}/, or packed in {name}.array_record, below {root}. Give "
            "--config.data.data_dir=DIR, or the splits' names with --config.data.train_split and "
            "--config.data.eval_split."
        )
    count = len(read_index(str(annotations)))
    images: Images
    if records.exists():
        images = RecordImages(str(records))
        images.check(count)
    else:
        images = FolderImages(str(folder))
    return CocoSource(str(annotations), images, tuple(range(count)))


def _teaches(index: Index, place: int) -> bool:
    some = index.starts[place + 1] > index.starts[place]
    return bool(some and index.sizes[place].min() >= LEAST_SIDE_PX)


def _texts(segmentations: Sequence[Any]) -> tuple[bytes, np.ndarray]:
    texts = [json.dumps(value, separators=(",", ":")).encode() for value in segmentations]
    return b"".join(texts), np.cumsum([0, *map(len, texts)], dtype=np.int64)
