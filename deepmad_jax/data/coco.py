"""Images with boxes and masks as COCO writes them: one JSON of annotations, one folder of images.

Opening reads the JSON, no image. Boxes become (x1, y1, x2, y2); category ids, which may have gaps,
become 0, 1, ... in their order. Masks stay as they are written until an image is asked for.

Source: cocodataset.org, "Data format"; what is left out of training is mmdetection's choice.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.config import DataConfig
from deepmad_jax.data.decode import CorruptImage
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
        segmentations: polygons, or a run-length code, or None; n of them.
    """

    id: int
    file: str
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    segmentations: tuple[Any, ...]

    def usable(self) -> np.ndarray:
        """The objects that are learned, boolean (n,): no crowds, nothing flat or off the image."""
        x1, y1, x2, y2 = self.boxes.T
        seen_width = np.minimum(x2, self.width) - np.maximum(x1, 0)
        seen_height = np.minimum(y2, self.height) - np.maximum(y1, 0)
        thick = (x2 - x1 >= 1) & (y2 - y1 >= 1)
        return thick & (self.areas > 0) & (seen_width > 0) & (seen_height > 0) & ~self.crowd


@dataclasses.dataclass(frozen=True)
class Index:
    """A whole annotation file.

    Attributes:
        images: in the file's order.
        categories: ids by label.
        names: of the categories, by label.
    """

    images: tuple[Annotated, ...]
    categories: tuple[int, ...]
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class CocoSource:
    """The images of one split: elements ``{"image", "index", "annotated"}``.

    Workers get only the paths, and read the annotations once themselves.

    Attributes:
        annotations: the JSON.
        folder: of the images.
        numbers: places of the images in the JSON.
    """

    annotations: str
    folder: str
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.numbers[index]
        annotated = read_index(self.annotations).images[number]
        try:
            data = (Path(self.folder) / annotated.file).read_bytes()
        except OSError as error:
            raise CorruptImage(str(error)) from error
        return {"image": data, "index": number, "annotated": annotated}

    def name_of(self, index: int) -> str:
        return f"{self.folder}/{read_index(self.annotations).images[self.numbers[index]].file}"

    def only(self, upright: bool) -> "CocoSource":
        """Its images that are higher than wide, or those that are not."""
        images = read_index(self.annotations).images
        kept = [n for n in self.numbers if (images[n].height > images[n].width) == upright]
        return dataclasses.replace(self, numbers=tuple(kept))


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
        MissingData: a file of annotations, or a folder of images, is not there.
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
    numbers = tuple(n for n, image in enumerate(learned.images) if _teaches(image))
    if not numbers:
        raise MissingData(f"No image of {train.annotations} has an annotation to learn from.")
    train = dataclasses.replace(train, numbers=numbers)
    return CocoDataset(root.name, train, evaluation, learned.names)


@functools.lru_cache(maxsize=4)
def read_index(path: str) -> Index:
    """The annotations in a file; kept, so that it is read once.

    Raises:
        UserError: it is no COCO file of objects.
    """
    try:
        values = json.loads(Path(path).read_text())
        # By id, not by place in the file: what a label means must not depend on the order.
        categories = sorted(values["categories"], key=lambda category: category["id"])
        label_of = {category["id"]: label for label, category in enumerate(categories)}
        of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in values["images"]}
        for annotation in values["annotations"]:
            if annotation["image_id"] in of_image and annotation["category_id"] in label_of:
                of_image[annotation["image_id"]].append(annotation)
        images = tuple(_annotated(i, of_image[i["id"]], label_of) for i in values["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"Cannot read {path} as COCO annotations ({type(error).__name__}: {error}): it must be "
            "JSON with images, annotations and categories."
        ) from error
    names = tuple(str(category.get("name", category["id"])) for category in categories)
    return Index(images, tuple(label_of), names)


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The pixels of an object, uint8 0 or 1, shape (height, width), as pycocotools has them.

    Args:
        segmentation: polygons, or a run-length code, compressed or not.
        height, width: of the image.
    """
    mask = coco_masks()
    if isinstance(segmentation, list):
        code = mask.merge(mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = mask.frPyObjects(segmentation, height, width)
    else:
        code = segmentation
    return mask.decode(code)


def coco_masks() -> Any:
    """pycocotools' masks; raises `UserError` where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError(
            "Detection needs the package pycocotools: pip install 'deepmad_jax[detect]'."
        ) from error
    return mask


def _split(root: Path, name: str) -> CocoSource:
    annotations, folder = root / "annotations" / f"instances_{name}.json", root / name
    for path, kind in ((annotations, "file"), (folder, "folder")):
        if not path.exists():
            raise MissingData(
                f"There is no {kind} {path}: expected annotations/instances_{name}.json and the "
                f"images in {name}/ below {root}. Give --config.data.data_dir=DIR, or the splits' "
                "names with --config.data.train_split and --config.data.eval_split."
            )
    count = len(read_index(str(annotations)).images)
    return CocoSource(str(annotations), str(folder), tuple(range(count)))


def _teaches(image: Annotated) -> bool:
    return len(image.labels) > 0 and min(image.height, image.width) >= LEAST_SIDE_PX


def _annotated(
    image: dict[str, Any], annotations: list[dict[str, Any]], label_of: dict[int, int]
) -> Annotated:
    corners = np.array([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return Annotated(
        id=image["id"],
        file=image["file_name"],
        height=int(image["height"]),
        width=int(image["width"]),
        boxes=corners,
        labels=np.array([label_of[a["category_id"]] for a in annotations], np.int32),
        crowd=np.array([bool(a.get("iscrowd", 0)) for a in annotations], bool),
        areas=np.array([a["area"] for a in annotations], np.float32),
        segmentations=tuple(a.get("segmentation") for a in annotations),
    )
