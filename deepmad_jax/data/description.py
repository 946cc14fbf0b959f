"""The files that describe a prepared data set, opened, or a message that says which is at fault.

TFDS writes ``dataset_info.json`` (splits, shards) and ``features.json`` (what a record holds) last
of all, next to the shards, in DATA_DIR/NAME/[CONFIG/]VERSION.
"""

import json
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.data.places import walk
from deepmad_jax.errors import MissingData

FILES = ("dataset_info.json", "features.json")

UNFINISHED = "incomplete."
"""How TFDS calls the folder that it is still preparing."""

AGAIN = "Copy that folder again from where it is whole, or remove it and prepare it again."


def open_description(name: str, data_dir: epath.Path, how_to_prepare: str) -> Any:
    """TFDS's builder of the data set, from its files alone.

    Not ``tfds.builder``: that would import the data set's own code, which for many sets wants
    TensorFlow, and knows no set that somebody prepared with other code.

    Args:
        name: of the data set, with a config and a version where it has them.
        data_dir: where TFDS looks for it.
        how_to_prepare: for the message where there is none.
    Raises:
        MissingData: it, or a file of its description, is not there.
        CorruptData: such a file is damaged.
    """
    try:
        builder = tfds.core.read_only_builder.builder_from_files(name, data_dir=str(data_dir))
        # All that is read later, so that damage comes to light here.
        assert builder.info.splits is not None
        assert builder.info.features is not None
        assert builder.info.file_format is not None
        return builder
    except tfds.core.DatasetNotFoundError as error:
        fault = _missing_file(name, data_dir)
        if fault:
            raise MissingData(f"{fault} {AGAIN}\n{how_to_prepare}") from error
        raise MissingData(
            f"The data set {name} is not prepared: looked in {data_dir / name}."
            f"{_unfinished(name, data_dir)}\n{how_to_prepare}"
        ) from error
    # What TFDS, protobuf and json raise on damaged files has no common class.
    except Exception as error:
        fault = _missing_file(name, data_dir)
        if fault:
            raise MissingData(f"{fault} {AGAIN}\n{how_to_prepare}") from error
        raise CorruptData(
            f"{_damaged_file(name, data_dir, error)} {AGAIN}\n{how_to_prepare}"
        ) from error


def _versions(name: str, data_dir: epath.Path) -> list[epath.Path]:
    """The folders below the data set's that hold something of a version, the newest first."""
    base = data_dir / name.split(":")[0]
    if not base.is_dir():
        return []
    return [
        base.joinpath(*inside)
        for inside, _, files in sorted(walk(base), reverse=True)
        if not any(part.startswith(UNFINISHED) for part in inside)
        and any(file in FILES or "-of-" in file for file in files)  # or a shard's
    ]


def _missing_file(name: str, data_dir: epath.Path) -> str:
    for folder in _versions(name, data_dir):
        for file in FILES:
            if not (folder / file).exists():
                return f"The data set {name} in {folder} is not whole: {file} is missing."
    return ""


def _damaged_file(name: str, data_dir: epath.Path, error: Exception) -> str:
    for folder in _versions(name, data_dir):
        for file in FILES:
            try:
                if not isinstance(json.loads((folder / file).read_text()), dict):
                    raise ValueError("it holds no JSON object")
            except (OSError, ValueError, RecursionError) as reason:
                return f"{folder / file} is damaged ({reason})."
    return (
        f"The description of the data set {name} in {data_dir} ({' and '.join(FILES)}) is damaged "
        f"({type(error).__name__}: {error})."
    )


def _unfinished(name: str, data_dir: epath.Path) -> str:
    base = data_dir / name.split(":")[0]
    found = base.is_dir() and [p for p in base.iterdir() if p.name.startswith(UNFINISHED)]
    return f" Preparing it was cut off, which left {found[0]}: remove that." if found else ""
