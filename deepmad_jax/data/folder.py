"""A plain folder of images, ``SPLIT/CLASS/*.jpg``, as ImageNet is often kept unpacked.

The classes are the folders of the training split in alphabetical order. Listing is all that opening
does: a folder of ImageNet's size takes seconds, an image is read when it is asked for.
"""

import dataclasses
from pathlib import Path
from typing import Any

from deepmad_jax.config import DataConfig
from deepmad_jax.data.dataset import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Dataset
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.errors import InvalidConfig, MissingData

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""Of the files that are read, in upper or lower case; others are passed over."""

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
"""Folders in which a split is looked for."""


def open_folder(config: DataConfig, resolution_px: int, channels: int) -> Dataset:
    """The images below ``data_dir``; they become RGB or grey, whatever the network takes.

    Raises:
        InvalidConfig: no ``data_dir``, a class that only the evaluation has, or a network that
            takes neither grey nor colour images.
        MissingData: a split's folder that is not there or holds no images.
    """
    if config.data_dir is None:
        raise InvalidConfig(
            "config.data.source is 'folder', so config.data.data_dir must name the folder that "
            "holds train/CLASS/*.jpg and val/CLASS/*.jpg: --config.data.data_dir=DIR"
        )
    if channels not in (1, 3):
        raise InvalidConfig(
            f"The network takes {channels} channels, but image files are read as grey (1) or RGB "
            "(3): set --config.design.in_channels to one of them."
        )
    root = Path(config.data_dir).expanduser()
    train_root = _split_folder(root, config.train_split)
    classes = sorted(path.name for path in train_root.iterdir() if path.is_dir())
    return Dataset(
        name=config.name if config.name != DataConfig.name else root.name,
        train=_list(train_root, classes),
        evaluation=_list(_split_folder(root, config.eval_split), classes),
        channels=channels,
        classes=len(classes),
        mean=IMAGENET_MEAN if channels == 3 else (GREY_MEAN,) * channels,
        std=IMAGENET_STD if channels == 3 else (GREY_STD,) * channels,
        resolution_px=resolution_px,
        framed=False,
    )


@dataclasses.dataclass(frozen=True)
class FileSource:
    """Encoded images read from their files.

    Attributes:
        root: folder that the paths are relative to.
        paths, labels: of the images, of equal length.
    """

    root: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            data = (Path(self.root) / self.paths[index]).read_bytes()
        except OSError as error:
            raise CorruptImage(str(error)) from error
        return {"image": data, "label": self.labels[index]}

    def name_of(self, index: int) -> str:
        return f"{self.root}/{self.paths[index]}"


def _split_folder(root: Path, split: str) -> Path:
    names = SPLIT_NAMES.get(split, (split,))
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise MissingData(
        f"There is no folder {' or '.join(str(root / name) for name in names)}: expected "
        f"{names[0]}/CLASS/*.jpg below {root}. Give --config.data.data_dir=DIR, or the folders' "
        "names with --config.data.train_split and --config.data.eval_split."
    )


def _list(root: Path, classes: list[str]) -> FileSource:
    unknown = {path.name for path in root.iterdir() if path.is_dir()} - set(classes)
    if unknown:
        raise InvalidConfig(
            f"{root} has the classes {', '.join(sorted(unknown)[:3])}, which the training images "
            "do not have: each class needs a folder of the same name in both."
        )
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(
            path.relative_to(root).as_posix()
            for path in (root / name).rglob("*")
            if path.suffix.lower() in ENDINGS
        )
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise MissingData(f"There is no image in {root}: expected {root}/CLASS/*.jpg.")
    return FileSource(str(root), tuple(paths), tuple(labels))
