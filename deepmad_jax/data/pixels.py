"""Training images decoded once: raw uint8 pixels in an ArrayRecord file, beside the data set.

Decoding JPEGs is most of what the input costs. Here every training image lies as pixels, its short
side brought down to a size that is a little more than the network's, and crops are cut out of that.
It costs disk (ImageNet at 256 pixels about 340 GB) and the finest crops:
a crop that is smaller than the network's image had more pixels in the file. Evaluation reads the
files themselves, since published accuracies are measured so.

A record is label (int32), height, width and channels (uint16, all little-endian), and the pixels.
"""

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from deepmad_jax.data.dataset import Dataset, Source
from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.data.record_source import UNREADABLE
from deepmad_jax.errors import InvalidConfig, MissingData
from deepmad_jax.paths import local, write_whole

RECORDS, DESCRIPTION = "train.array_record", "description.json"
_HEADER = struct.Struct("<iHHH")


def write_pixels(
    dataset: Dataset, folder: Path, short_px: int, tell: Callable[[int], object] | None = None
) -> int:
    """Writes the training images of a data set; returns how many could not be read.

    Such an image is a record without pixels, so that every image keeps its number.

    Args:
        dataset: what to read.
        folder: made where it is not there; a file of an earlier, interrupted try is replaced.
        short_px: the images' short side; smaller images stay as they are.
        tell: is given the number of images done, now and then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{RECORDS}.partial"
    # Groups of one record: reading one at random would decompress its whole group. No compression:
    # pixels give little of it, and decompressing costs what is to be saved.
    writer = ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
    unreadable = 0
    for number in range(len(dataset.train)):
        try:
            element = dataset.train[number]
            pixels = _small(element["image"], dataset.channels, short_px)
            label = int(element["label"])
        except CorruptImage:
            pixels, label = np.zeros((0, 0, dataset.channels), np.uint8), -1
            unreadable += 1
        writer.write(_HEADER.pack(label, *pixels.shape) + pixels.tobytes())
        if tell is not None and number % 1000 == 0:
            tell(number)
    writer.close()
    partial.replace(folder / RECORDS)
    # Last: a folder that has it is whole.
    about = _about(dataset) | {"short_px": short_px}
    write_whole(folder / DESCRIPTION, json.dumps(about) + "\n")
    return unreadable


def with_pixels(dataset: Dataset, folder: str | Path) -> Dataset:
    """The data set with its training images read from ``folder``.

    Raises:
        MissingData: they are not there.
        InvalidConfig: they are of another data set, or too small for the network.
    """
    root = local(folder)
    try:
        about = json.loads((root / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise MissingData(
            f"There are no decoded images in {root}: write them first (launch/cache_pixels.py), or "
            "leave config.data.pixels_dir at None."
        ) from error
    expected = _about(dataset)
    differing = [name for name, value in expected.items() if about.get(name) != value]
    if differing:
        pairs = [f"{name} {about.get(name)!r} for {expected[name]!r}" for name in differing]
        raise InvalidConfig(
            f"The decoded images in {root} are of other data ({', '.join(pairs)}): write them "
            "anew (launch/cache_pixels.py)."
        )
    if about["short_px"] < dataset.resolution_px:
        raise InvalidConfig(
            f"The decoded images in {root} have a short side of {about['short_px']} pixels, less "
            f"than the {dataset.resolution_px} of the network: write them anew with a greater "
            "--short_px."
        )
    raw = grain.sources.ArrayRecordDataSource(str(root / RECORDS))
    return dataclasses.replace(dataset, train=PixelSource(raw, dataset.train))


@dataclasses.dataclass(frozen=True)
class PixelSource:
    """Pixels and labels of raw records; `dataset.Source`.

    Attributes:
        raw: the records' bytes, by index.
        files: what they were decoded from, for the names.
    """

    raw: Any
    files: Source

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            record = self.raw[index]
            label, *shape = _HEADER.unpack_from(record)
            pixels = np.frombuffer(record, np.uint8, offset=_HEADER.size).reshape(shape)
        except (*UNREADABLE, struct.error) as error:
            raise CorruptImage(" ".join(str(error).split())) from error
        if not pixels.size:
            raise CorruptImage("its file could not be read when it was to be decoded")
        return {"image": pixels, "label": label}

    def name_of(self, index: int) -> str:
        return self.files.name_of(index)


def _about(dataset: Dataset) -> dict[str, Any]:
    """What tells one data set from another."""
    return {
        "name": dataset.name,
        "images": len(dataset.train),
        "channels": dataset.channels,
        "classes": dataset.classes,
    }


def _small(image: bytes | np.ndarray, channels: int, short_px: int) -> np.ndarray:
    """The pixels of an image, its short side at most ``short_px``."""
    whole = decode(image, channels) if isinstance(image, bytes) else image
    height, width = whole.shape[:2]
    if min(height, width) <= short_px:
        return whole
    factor = short_px / min(height, width)
    size = (max(short_px, round(width * factor)), max(short_px, round(height * factor)))
    pillow = Image.fromarray(whole[..., 0] if channels == 1 else whole)
    resized = pillow.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized).reshape(size[1], size[0], channels)
