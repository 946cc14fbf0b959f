"""Images with boxes and masks as COCO writes them: one JSON of annotations, and the images.

Opening reads the JSON (`coco_index`), no image.

Source: cocodataset.org, "Data format"; what is left out of training is mmdetection's choice.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.config import DataConfig
from deepmad_jax.data.coco_images import FolderImages, Images, RecordImages
from deepmad_jax.data.coco_index import Index, read_index
from deepmad_jax.errors import MissingData, UserError

LEAST_SIDE_PX = 32
"""Images with a shorter side are not trained on."""


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
        raise MissingData(
            f"No image of {train.annotations} has an annotation to learn from{_strays(learned)}."
        )
    if not len(judged.crowd) or judged.crowd.all():
        raise MissingData(
            f"No image of {evaluation.annotations} has an object to be judged by{_strays(judged)}."
        )
    for path, index in ((train.annotations, learned), (evaluation.annotations, judged)):
        if index.num_strays:
            print(f"{path}{_strays(index)}", file=sys.stderr, flush=True)
    train = dataclasses.replace(train, numbers=numbers)
    return CocoDataset(root.name, train, evaluation, learned.names)


def check_masks(source: CocoSource) -> None:
    """Raises `UserError` where an object has no mask to judge by; in training its box is one."""
    index = read_index(source.annotations)
    missing = int((np.diff(index.text_starts) <= len("null")).sum())
    if missing:
        raise UserError(
            f"{missing:,} of the {len(index.crowd):,} objects in {source.annotations} have no "
            "segmentation, so masks cannot be judged: give them one, or find boxes alone with "
            "--config.detect.head=fcos or gfl."
        )


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


def _strays(index: Index) -> str:
    """What to add to a message about annotations, where some belong nowhere."""
    if not index.num_strays:
        return ""
    return (
        "; annotations left out, whose image_id or category_id is not among the file's images and "
        f"categories: {index.num_strays:,}"
    )


def _teaches(index: Index, place: int) -> bool:
    some = index.starts[place + 1] > index.starts[place]
    return bool(some and index.sizes[place].min() >= LEAST_SIDE_PX)
