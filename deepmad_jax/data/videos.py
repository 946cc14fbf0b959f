"""Video files and their classes, as data sets of actions lay them out.

``ucf101``: lists of files, one a line (``CLASS/v_CLASS_g08_c01.avi 1``), and ``classInd.txt``
beside them. ``kinetics``: a csv with a line a clip (``label``, ``youtube_id``, ``time_start``,
``time_end``), its file called ``ID_000010_000020.mp4`` in any depth below the split's folder.
``folder``: ``SPLIT/CLASS/*.mp4``. Opening lists files and opens none.

Of the first two some videos are often gone; those are counted, named and left out.
"""

import csv
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmad_jax.config import DataConfig, VideoConfig
from deepmad_jax.errors import InvalidConfig, MissingData, UserError, some_of

ENDINGS = (
    ".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".3gp", ".flv", ".wmv"
)  # fmt: skip
"""Of the files that are taken for videos, in upper or lower case."""

CLASS_INDEX = "classInd.txt"
"""Beside UCF101's lists: a number, from 1 on, and a name a line."""

COLUMNS = ("label", "youtube_id", "time_start", "time_end")
"""Of Kinetics' csv files that are read."""


@dataclasses.dataclass(frozen=True)
class VideoSource:
    """The videos of one split: elements ``{"video": path, "label": int, "index": place}``.

    Attributes:
        root: folder that the paths are relative to.
        paths, labels: of the videos, of equal length.
    """

    root: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"video": self.name_of(index), "label": self.labels[index], "index": index}

    def name_of(self, index: int) -> str:
        return str(Path(self.root) / self.paths[index])


@dataclasses.dataclass(frozen=True)
class VideoDataset:
    """An opened data set.

    Attributes:
        name: for messages.
        train, evaluation: of the splits.
        names: of the classes, by label.
    """

    name: str
    train: VideoSource
    evaluation: VideoSource
    names: tuple[str, ...]


def open_videos(config: DataConfig, video: VideoConfig) -> VideoDataset:
    """The splits ``train_split`` and ``eval_split`` below ``data_dir``.

    Raises:
        MissingData: a folder or list is not there, or too many of the videos.
        UserError: a list that cannot be read, or a class that is not among the others.
    """
    if config.data_dir is None:
        raise MissingData(
            "Videos are read from a folder: give the one that holds them with "
            "--config.data.data_dir=DIR, and its layout with --config.video.layout "
            "(ucf101, kinetics or folder)."
        )
    root = Path(config.data_dir).expanduser()
    splits = dict.fromkeys((config.train_split, config.eval_split))
    listed = {split: _LISTS[video.layout](root, split, video) for split in splits}
    if video.layout == "ucf101":
        names = _class_index(_list_file(root, config.train_split, video).with_name(CLASS_INDEX))
    else:
        names = tuple(sorted({found.label for found in listed[config.train_split].videos}))
    sources = {split: _source(listed[split], split, names, video) for split in splits}
    return VideoDataset(
        root.resolve().name, sources[config.train_split], sources[config.eval_split], names
    )


@dataclasses.dataclass(frozen=True)
class _Video:
    """A line of a list: what it calls the video, where that is below the folder, and its class."""

    name: str
    path: str | None
    label: str


@dataclasses.dataclass(frozen=True)
class _Listed:
    folder: Path
    videos: list[_Video]


def _source(listed: _Listed, split: str, names: tuple[str, ...], video: VideoConfig) -> VideoSource:
    place = {name: label for label, name in enumerate(names)}
    unknown = sorted({found.label for found in listed.videos} - set(place))
    if unknown:
        known = CLASS_INDEX if video.layout == "ucf101" else "the training split"
        raise UserError(
            f"{len(unknown):,} classes of {split} are not among the {len(names):,} of {known}: "
            f"{some_of(unknown)}. Mend the lists, or name other splits with "
            "--config.data.train_split and --config.data.eval_split."
        )
    missing = [found.name for found in listed.videos if found.path is None]
    there = [(found.path, place[found.label]) for found in listed.videos if found.path is not None]
    if missing:
        told = (
            f"{len(missing):,} of the {len(listed.videos):,} videos of {split} are not in "
            f"{listed.folder}: {some_of(missing)}"
        )
        if not there or len(missing) > video.missing_share * len(listed.videos):
            raise MissingData(
                f"{told}. Name the folder of the videos with --config.data.data_dir and "
                "--config.video.video_folder, or raise --config.video.missing_share, which is "
                f"{video.missing_share:g}, to do without them."
            )
        print(f"left out: {told}", file=sys.stderr, flush=True)
    if not there:
        raise MissingData(f"There are no videos of {split} in {listed.folder}.")
    paths, labels = zip(*there, strict=True)
    return VideoSource(str(listed.folder), paths, labels)


def _ucf101(root: Path, split: str, video: VideoConfig) -> _Listed:
    folder, file = _folder(root, split, video), _list_file(root, split, video)
    known = _videos_below(folder)
    videos = []
    for line in _lines(file):
        # The training lists have the class's number too, which is that of its folder.
        name = line.split()[0]
        label, _, _ = name.partition("/")
        videos.append(_Video(name, name if name in known else None, label))
    return _Listed(folder, videos)


def _kinetics(root: Path, split: str, video: VideoConfig) -> _Listed:
    folder, file = _folder(root, split, video), _list_file(root, split, video)
    by_stem = {Path(path).stem: path for path in sorted(_videos_below(folder), reverse=True)}
    rows = csv.DictReader(_lines(file))
    lacking = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if lacking:
        raise UserError(
            f"{file} has no column {' or '.join(lacking)}: Kinetics' lists begin with the line "
            f"{','.join(COLUMNS)},split."
        )
    videos = []
    for row in rows:
        if not row["label"]:
            raise UserError(
                f"{file}, line {rows.line_num}, has no label: choose a split that has, with "
                "--config.data.train_split and --config.data.eval_split."
            )
        try:
            times = [round(float(row[name])) for name in ("time_start", "time_end")]
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{file}, line {rows.line_num}: {row['time_start']!r} to {row['time_end']!r} are "
                "no seconds."
            ) from error
        stem = f"{row['youtube_id']}_{times[0]:06}_{times[1]:06}"
        path = by_stem.get(stem) or by_stem.get(row["youtube_id"])
        videos.append(_Video(stem, path, _same_words(row["label"])))
    return _Listed(folder, videos)


def _in_folders(root: Path, split: str, video: VideoConfig) -> _Listed:
    folder = _folder(root, split, video)
    paths = sorted(path for path in _videos_below(folder) if "/" in path)
    return _Listed(folder, [_Video(path, path, path.partition("/")[0]) for path in paths])


_LISTS = {"ucf101": _ucf101, "kinetics": _kinetics, "folder": _in_folders}
"""`config.video.layout` -> what reads it."""


def _class_index(file: Path) -> tuple[str, ...]:
    """The classes by label, which is their number less 1."""
    found: Mapping[str, str] = dict(line.split(maxsplit=1) for line in _lines(file) if " " in line)
    wanted = [str(number) for number in range(1, len(found) + 1)]
    if not found or sorted(found) != sorted(wanted):
        raise InvalidConfig(
            f"{file} does not number classes from 1 on, one a line, such as: 1 ApplyEyeMakeup"
        )
    return tuple(found[number].strip() for number in wanted)


def _same_words(label: str) -> str:
    """Copies of Kinetics write its classes with spaces or with underscores."""
    return label.strip().replace("_", " ")


def _folder(root: Path, split: str, video: VideoConfig) -> Path:
    folder = root / video.video_folder.replace("{split}", split)
    if not folder.is_dir():
        raise MissingData(
            f"There is no folder {folder}: give --config.data.data_dir=DIR and, below it, the "
            "folder of the videos with --config.video.video_folder; {split} stands there for the "
            "split's name."
        )
    return folder


def _list_file(root: Path, split: str, video: VideoConfig) -> Path:
    return root / video.list_file.replace("{split}", split)


def _lines(file: Path) -> list[str]:
    """The lines of a list, without empty ones."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingData(
            f"There is no list {file}: name it, below --config.data.data_dir, with "
            "--config.video.list_file; {split} stands there for the split's name."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}).") from error
    return [line for line in lines if line.strip()]


def _videos_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    }
