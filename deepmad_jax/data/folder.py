"""A plain folder of images, ``SPLIT/CLASS/*.jpg``, as ImageNet is often kept unpacked.

The classes are the folders of the training split that hold images, in alphabetical order. What a
file manager hides is no image, and its folders are no classes. Listing is all that opening does: a
folder of ImageNet's size takes seconds, an image is read when it is asked for.
"""

import dataclasses
import sys
from collections.abc import Iterable
from typing import Any

from etils import epath

from deepmad_jax.config import DataConfig
from deepmad_jax.data.dataset import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Dataset
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.data.places import READ_BY, is_address, place, walk
from deepmad_jax.errors import InvalidConfig, MissingData

ENDINGS = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp"
)  # fmt: skip
"""Of the files that are read, in upper or lower case; others are passed over."""

SYSTEM_FOLDERS = (
    "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"
)  # fmt: skip
"""Hidden like those that begin with a dot: what archives of macOS, network disks and Windows hold
beside one's own files."""

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
"""Folders in which a split is looked for."""

ImagesOfClasses = dict[str, list[str]]
"""Paths below a split's folder, sorted, by class, sorted; empty for folders without an image."""


def open_folder(config: DataConfig, resolution_px: int, channels: int) -> Dataset:
    """The images below ``data_dir``; they become RGB or grey, whatever the network takes.

    Folders without an image are no classes, and are told on stderr.

    Raises:
        InvalidConfig: no ``data_dir``, a class that only the evaluation has, or a network that
            takes neither grey nor colour images.
        MissingData: a split's folder that is not there or holds no images.
        UserError: an address that cannot be read.
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
    root = place(
        config.data_dir,
        tuple(READ_BY),
        "Mount it as a folder, or copy the images to this machine.",
    )
    name = (root if is_address(root) else root.resolve()).name  # of "." too
    train_root = _split_folder(root, config.train_split)
    eval_root = _split_folder(root, config.eval_split)
    train = _images_in(train_root)
    evaluation = train if eval_root == train_root else _images_in(eval_root)
    classes = [name for name, images in train.items() if images]
    _compare(train_root, train, eval_root, evaluation)
    return Dataset(
        name=config.name if config.name != DataConfig.name else name,
        train=_source(train_root, train, classes),
        evaluation=_source(eval_root, evaluation, classes),
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
        root: folder or address that the paths are relative to.
        paths, labels: of the images, of equal length.
        classes: their names, by label.
    """

    root: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            data = (epath.Path(self.root) / self.paths[index]).read_bytes()
        except Exception as error:  # what object stores raise is wider than OSError
            raise CorruptImage(f"{type(error).__name__}: {error}") from error
        return {"image": data, "label": self.labels[index]}

    def name_of(self, index: int) -> str:
        return f"{self.root}/{self.paths[index]}"


def _split_folder(root: epath.Path, split: str) -> epath.Path:
    names = SPLIT_NAMES.get(split, (split,))
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise MissingData(
        f"There is no folder {' or '.join(str(root / name) for name in names)}: expected "
        f"{names[0]}/CLASS/*.jpg below {root}. Give --config.data.data_dir=DIR, or the folders' "
        "names with --config.data.train_split and --config.data.eval_split."
    )


def _images_in(root: epath.Path) -> ImagesOfClasses:
    found: ImagesOfClasses = {}
    for inside, folders, files in walk(root):
        folders[:] = [name for name in folders if not _hidden(name)]
        if any(map(_hidden, inside)):
            continue
        if not inside:
            found |= {name: [] for name in folders}
            continue
        images = (name for name in files if _is_image(name))
        found[inside[0]] += ["/".join((*inside, name)) for name in images]
    if not any(found.values()):
        raise MissingData(
            f"There is no image in {root}: expected {root}/CLASS/*.jpg. Files are read that end in "
            f"{', '.join(ENDINGS)} and do not begin with a dot."
        )
    return {name: sorted(found[name]) for name in sorted(found)}


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not _hidden(name)


def _compare(
    train_root: epath.Path,
    train: ImagesOfClasses,
    eval_root: epath.Path,
    evaluation: ImagesOfClasses,
) -> None:
    """Refuses what has no label, and tells what is no class or is not evaluated."""
    unknown = [name for name, images in evaluation.items() if images and not train.get(name)]
    if unknown:
        raise InvalidConfig(
            f"{eval_root} has the classes {_some(unknown)}, which the training images in "
            f"{train_root} do not have: each class needs a folder of the same name with images in "
            "both."
        )
    empty = [name for name, images in train.items() if not images]
    if empty:
        _tell(f"{train_root} has folders without an image, which are no classes: {_some(empty)}")
    unseen = [name for name, images in train.items() if images and not evaluation.get(name)]
    if unseen:
        _tell(f"{eval_root} has no image of these classes, so nothing tests them: {_some(unseen)}")


def _some(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    shown = [first, *others[:4]]
    more = len(others) + 1 - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _source(root: epath.Path, images: ImagesOfClasses, classes: list[str]) -> FileSource:
    paths, labels = [], []
    for label, name in enumerate(classes):
        paths += images.get(name, [])
        labels += [label] * len(images.get(name, []))
    return FileSource(str(root), tuple(paths), tuple(labels), tuple(classes))
