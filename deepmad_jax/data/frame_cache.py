"""Frames kept as JPEG once they are decoded, so that a video is decoded once and not every epoch.

A file of the cache holds all frames of one video at one size, behind the places where they begin.
What is read comes from there the first time too, so that a run gives the same bits whether its
cache is empty or full. A video that has changed gets a new file; one of the cache that was cut off
is made again.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg

from deepmad_jax.data.decode import CorruptImage, decode
from deepmad_jax.errors import UserError

QUALITY, COLOUR = 95, "444"
"""Of the JPEGs; colour is kept for every pixel."""

MAGIC = int.from_bytes(b"frames 1", "little")
"""A file is numbers of 64 bits (this one, how many frames, where each begins, where the last ends)
and then the JPEGs."""


def cached_frames(
    cache: Path,
    video: Path,
    size: str,
    choose: Callable[[int], np.ndarray],
    decoded: Callable[[], Iterable[np.ndarray]],
) -> list[np.ndarray]:
    """The frames of a video that ``choose`` names, uint8 (height, width, 3).

    Args:
        cache: a folder, made where it is not there; several processes may share it.
        video: the file.
        size: in words; tells frames of one size from those of another.
        choose: from the number of frames to the numbers of those wanted.
        decoded: gives all frames, where the cache has none.
    Raises:
        CorruptImage: the video cannot be read.
        UserError: the cache cannot be written.
    """
    file = cache / _name_for(video, size)
    places = _places(file)
    if places is None:
        _write(file, [simplejpeg.encode_jpeg(frame, QUALITY, "RGB", COLOUR) for frame in decoded()])
        places = _places(file)
        assert places is not None
    wanted = choose(len(places) - 1)
    found = {}
    with file.open("rb") as opened:
        for number in sorted({int(number) for number in wanted}):
            opened.seek(places[number])
            found[number] = decode(opened.read(places[number + 1] - places[number]), 3)
    return [found[int(number)] for number in wanted]


def _name_for(video: Path, size: str) -> str:
    try:
        state = video.stat()
    except OSError as error:
        raise CorruptImage(f"{type(error).__name__}: {error}") from error
    # Not by the whole path: data sets are moved.
    told = (video.parent.name, video.name, state.st_size, state.st_mtime_ns, size, QUALITY)
    return f"{hashlib.sha256(repr(told).encode()).hexdigest()[:32]}.frames"


def _places(file: Path) -> list[int] | None:
    """Where each frame begins and the last one ends; None where there is no whole file."""
    try:
        with file.open("rb") as opened:
            magic, count = _numbers(opened, 2)
            if magic != MAGIC:
                return None
            places = _numbers(opened, count + 1)
            whole = places[-1] == os.fstat(opened.fileno()).st_size
            return places if whole else None
    except (OSError, ValueError):
        return None


def _numbers(opened: BinaryIO, count: int) -> list[int]:
    numbers = np.frombuffer(opened.read(8 * count), "<u8").tolist()
    if len(numbers) != count:
        raise ValueError("the file ends early")
    return numbers


def _write(file: Path, frames: list[bytes]) -> None:
    if not frames:
        raise CorruptImage("it has no frame that can be decoded")
    start = 8 * (len(frames) + 3)
    places = np.cumsum([start, *map(len, frames)])
    partial = file.with_suffix(f".{secrets.token_hex(4)}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as opened:
            opened.write(np.array([MAGIC, len(frames), *places.tolist()], "<u8").tobytes())
            opened.writelines(frames)
        partial.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(
            f"{file} could not be written: {error.strerror}. Make room for the frames, name "
            "another folder with --config.video.cache, or leave it out to decode videos every time."
        ) from error
