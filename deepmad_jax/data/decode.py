"""From the bytes of an image file to a uint8 array, as fast as one core can.

JPEGs go to libjpeg-turbo through simplejpeg, everything else and every JPEG that it does not take
(CMYK, recoverable damage) to Pillow, whose word is final. All of them come out as a person sees
them: upright (`upright`), without transparency and at 8 bits (`seen`).

Measured on 500x375 JPEGs of quality 90 (benchmarks/input_pipeline.py has the figures): simplejpeg
is a little faster than OpenCV, and both are much faster than Pillow; all three give the pixels that
libjpeg-turbo gives.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from deepmad_jax.data.seen import UnknownLook, seen
from deepmad_jax.data.upright import FIRST_ON_ITS_SIDE, UPRIGHT, orientation_of, turned

Size = tuple[int, int]
"""Height and width, pixels."""

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"

MCU_PX = 16
"""Most rows of a JPEG's smallest unit; one more unit is read for the smoothing of colour."""


class CorruptImage(Exception):
    """An image that cannot be read. Never reaches the user: see `deepmad_jax.data.corrupt`."""


def size_of(data: bytes) -> Size:
    """Height and width of the picture as `decode` gives it, from the header alone."""
    if data[:3] == JPEG_START:
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            pass
        else:
            return _size(height, width, orientation_of(data))
    return _with_pillow(data, lambda image: _pillow_size(image, data))


def decode(
    data: bytes,
    channels: int,
    least: Size = (0, 0),
    scratch: np.ndarray | None = None,
    rows: int | None = None,
) -> np.ndarray:
    """The pixels, uint8, shape (height, width, channels).

    Args:
        data: a JPEG, PNG or other image file.
        channels: 3 or 1; the file is converted to RGB or grey.
        least: where it is at most half of a JPEG's size, the image is decoded at a half, a quarter
            or an eighth of its size, but not below this. Costs less, and averages pixels that a
            resize would skip. (0, 0) decodes in full.
        scratch: uint8 memory that the pixels may lie in, if they fit; what was there is lost. Fresh
            memory for every image costs a twelfth of decoding it.
        rows: how many rows from the top are wanted; None for all. Those below may be left out of
            the result, and some damage then goes unnoticed; a file cut off does not.

    Raises:
        CorruptImage: not an image, a damaged one, or one of which nobody knows how it looks.
    """
    if data[:3] == JPEG_START:
        orientation = orientation_of(data)
        least = _size(*least, orientation)
        if orientation > 2:  # above that, the rows wanted are not those at the top of the file
            rows = None
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            fits = scratch is not None and height * width * channels <= scratch.size
            shrinks = 0 < 2 * least[0] <= height + 1 and 2 * least[1] <= width + 1
            shorter = None if rows is None or shrinks else _cut_off(data, rows, height)
            pixels = simplejpeg.decode_jpeg(
                shorter or data,
                "RGB" if channels == 3 else "GRAY",
                min_height=least[0],
                min_width=least[1],
                # libjpeg-turbo is fast at these factors only; others would lose time.
                min_factor=2,
                buffer=scratch if fits else None,
                # What is left over after the rows wanted would count as damage.
                strict=shorter is None,
            )
        except ValueError:
            pass
        else:
            return turned(pixels, orientation)
    return _with_pillow(data, lambda image: _pillow_pixels(image, data, channels))


def _size(height: int, width: int, orientation: int) -> Size:
    return (width, height) if orientation >= FIRST_ON_ITS_SIDE else (height, width)


def _cut_off(data: bytes, rows: int, height: int) -> bytes | None:
    """The JPEG with the height in its header lowered, so that decoding ends early.

    None where that saves nothing, where the file does not end as it should (it may be damaged), or
    where it is not sequential: a progressive JPEG has all its rows in each of several passes.
    """
    lower = -(-rows // MCU_PX) * MCU_PX + MCU_PX
    if lower >= height or data[-2:] != JPEG_END:
        return None
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in (0xC0, 0xC1):  # start of a sequential frame: length, precision, height
            return data[: place + 5] + lower.to_bytes(2, "big") + data[place + 7 :]
        if marker == 0xDA or (0xC2 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _pillow_size(image: Image.Image, data: bytes) -> Size:
    return _size(image.height, image.width, _pillow_orientation(image, data))


def _pillow_pixels(image: Image.Image, data: bytes, channels: int) -> np.ndarray:
    orientation = _pillow_orientation(image, data)
    return turned(seen(image, data, channels), orientation)


def _pillow_orientation(image: Image.Image, data: bytes) -> int:
    if data[:3] == JPEG_START:
        return orientation_of(data)  # whoever decodes it, its header alone says its size
    if image.format == "TIFF":
        return UPRIGHT  # Pillow turns these itself
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return int(orientation) if orientation in range(1, 9) else UPRIGHT
    except Exception:  # damaged EXIF takes nothing from the picture
        return UPRIGHT


def _with_pillow(data: bytes, read: Callable[[Image.Image], Any]) -> Any:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return read(image)
    except UnknownLook as error:
        raise CorruptImage(str(error)) from error
    except UnidentifiedImageError as error:  # its own words hold nothing but an address in memory
        raise CorruptImage("no image of a known kind") from error
    # What Pillow raises on damaged files is wider than OSError: SyntaxError, ValueError, ...
    except Exception as error:
        raise CorruptImage(f"{type(error).__name__}: {error}") from error
