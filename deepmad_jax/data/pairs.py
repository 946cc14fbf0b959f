"""Images and, for each, a PNG of the same size whose values are the classes of its pixels.

ADE20K is kept so: ``images/training/*.jpg``, ``annotations/training/*.png``, and the same of
``validation``; names of classes in ``objectInfo150.txt``, or one a line in ``classes.txt``. Opening
lists the files and reads their headers, no pixels.

Source: the MIT Scene Parsing Benchmark's archive, ADEChallengeData2016.
"""

import dataclasses
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepmad_jax.config import DataConfig, SegmentConfig
from deepmad_jax.data.decode import CorruptImage, size_of
from deepmad_jax.data.folder import ENDINGS
from deepmad_jax.errors import InvalidConfig, MissingData, UserError, some_of

IGNORED = 255
"""Label of pixels that have no class."""

HEADER_BYTES = 2**16
"""Of a file that are read for its size; if they do not say it, the whole file is."""

THREADS = 16
"""That read headers: most of the time is waiting for the disk."""

CLASS_FILES = ("classes.txt", "objectInfo150.txt")


@dataclasses.dataclass(frozen=True)
class PairSource:
    """The images of one split: elements ``{"image", "label", "index"}``, files' bytes and place.

    Attributes:
        image_folder, label_folder: that the names are relative to.
        names: of the images, sorted.
        sizes: height and width of each.
        numbers: places in ``names`` of its elements.
    """

    image_folder: str
    label_folder: str
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.numbers[index]
        image, label = self._paths(number)
        try:
            return {
                "image": image.read_bytes(),
                "label": label.read_bytes(),
                "index": number,
                "name": str(label),
            }
        except OSError as error:
            raise CorruptImage(f"{type(error).__name__}: {error}") from error

    def name_of(self, index: int) -> str:
        return str(self._paths(self.numbers[index])[0])

    def only(self, numbers: Sequence[int]) -> "PairSource":
        """The elements of some places."""
        return dataclasses.replace(self, numbers=tuple(numbers))

    def _paths(self, number: int) -> tuple[Path, Path]:
        name = self.names[number]
        return Path(self.image_folder) / name, _label_path(Path(self.label_folder), name)


@dataclasses.dataclass(frozen=True)
class PairDataset:
    """An opened data set.

    Attributes:
        name: for messages.
        train, evaluation: of the splits.
        names: of the classes, by label.
    """

    name: str
    train: PairSource
    evaluation: PairSource
    names: tuple[str, ...]


def open_pairs(config: DataConfig, segment: SegmentConfig) -> PairDataset:
    """The splits ``train_split`` and ``eval_split`` below ``data_dir``.

    Raises:
        MissingData: a folder, or the label of an image, is not there.
        UserError: an image and its label of different sizes, or a file that cannot be read.
        InvalidConfig: another number of classes than the data set names.
    """
    if config.data_dir is None:
        raise MissingData(
            "Segmentation reads images and PNG files of their labels: give the folder that holds "
            f"{segment.image_folder} and {segment.label_folder}, with --config.data.data_dir=DIR."
        )
    root = Path(config.data_dir).expanduser()
    train = _split(root, config.train_split, segment)
    same = config.eval_split == config.train_split
    evaluation = train if same else _split(root, config.eval_split, segment)
    return PairDataset(root.resolve().name, train, evaluation, _names(root, segment.classes))


def label_pixels(data: bytes, name: str) -> np.ndarray:
    """The values of a label file, uint8 (height, width): indices, whatever colours they stand for.

    Raises:
        CorruptImage: it cannot be read.
        UserError: its pixels are colours.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            mode, values = image.mode, np.asarray(image)
    except Exception as error:  # what Pillow raises on damaged files is wider than OSError
        raise CorruptImage(f"its label, {type(error).__name__}: {error}") from error
    if mode == "1":
        return values.astype(np.uint8)
    if mode not in ("P", "L"):
        raise UserError(
            f"{name} has pixels of the kind {mode}, but a label has one value of 8 bits a pixel: "
            "save it as an indexed or grey PNG whose values are the classes."
        )
    return values


def _split(root: Path, split: str, segment: SegmentConfig) -> PairSource:
    folders = [
        root / folder.replace("{split}", split)
        for folder in (segment.image_folder, segment.label_folder)
    ]
    for folder in folders:
        if not folder.is_dir():
            raise MissingData(
                f"There is no folder {folder}: give --config.data.data_dir=DIR, the splits' names "
                "with --config.data.train_split and --config.data.eval_split, or the folders with "
                "--config.segment.image_folder and --config.segment.label_folder."
            )
    images, labels = folders
    names = sorted(_images_below(images))
    if not names:
        raise MissingData(f"There are no images in {images}.")
    missing = [name for name in names if not _label_path(labels, name).is_file()]
    if missing:
        raise MissingData(
            f"{len(missing):,} of {len(names):,} images in {images} have no label in {labels}: "
            f"{some_of(str(_label_path(Path(), name)) for name in missing)}. Put them there, or "
            "take the images away."
        )
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(_size, (images / name for name in names)))
        others = list(pool.map(_size, (_label_path(labels, name) for name in names)))
    unequal = [
        f"{name} is {_by(size)}, its label {_by(other)}"
        for name, size, other in zip(names, sizes, others, strict=True)
        if size is not None and other is not None and size != other
    ]
    if unequal:
        raise UserError(
            f"{len(unequal):,} of {len(names):,} labels in {labels} have another size than their "
            f"images in {images}: {some_of(unequal)}. A label needs its image's width and height."
        )
    # Of files whose header cannot be read: what they are is said where they are.
    known = tuple(size or other or (1, 1) for size, other in zip(sizes, others, strict=True))
    numbers = tuple(range(len(names)))
    return PairSource(str(images), str(labels), tuple(names), known, numbers)


def _images_below(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix()


def _label_path(folder: Path, name: str) -> Path:
    return (folder / name).with_suffix(".png")


def _size(path: Path) -> tuple[int, int] | None:
    """Height and width; None where they cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
            try:
                return size_of(start)
            except CorruptImage:
                return size_of(start + file.read())
    except (OSError, CorruptImage):
        return None


def _names(root: Path, classes: int) -> tuple[str, ...]:
    for file in CLASS_FILES:
        path = root / file
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            # ADE20K's: index, ratio, two counts and the name, with a head line.
            cells = [line.split("\t")[-1].strip() for line in lines if line.strip()]
            names = cells[1:] if file == CLASS_FILES[1] else cells
            if len(names) != classes:
                raise InvalidConfig(
                    f"config.segment.classes is {classes}, but {path} names {len(names)}: "
                    f"--config.segment.classes={len(names)}"
                )
            return tuple(names)
    return tuple(f"class {label}" for label in range(classes))


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
