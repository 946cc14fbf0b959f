"""How a photograph is to be turned so that it stands upright, from the note that cameras make.

A camera writes the pixels as its sensor lies, and beside them, as EXIF, which side is up; viewers
turn the picture. Source: EXIF 2.32, tag 0x0112 (Orientation); TIFF 6.0 for how it is stored.
"""

import numpy as np

UPRIGHT = 1
"""The orientation in which pixels lie as they are seen; up to 8 there are others."""

FIRST_ON_ITS_SIDE = 5
"""From this orientation on, height and width change places."""

ORIENTATION_TAG, SHORT = 0x0112, 3


def orientation_of(jpeg: bytes) -> int:
    """From 1 (upright) to 8, from the file's header; 1 where nothing is said or it is damaged."""
    place = 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF:
        marker = jpeg[place + 1]
        if marker == 0xFF:  # a filling byte
            place += 1
            continue
        if marker == 0xDA:  # the pixels begin
            break
        length = int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if marker == 0xE1 and jpeg[place + 4 : place + 10] == b"Exif\0\0":
            return _in_exif(jpeg[place + 10 : place + 2 + length])
        place += 2 + length
    return UPRIGHT


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as they are seen; shape (height, width, channels), or (width, height, channels).

    Args:
        image: as it lies in the file, shape (height, width, channels).
        orientation: 1 to 8.

    >>> turned(np.array([[[1], [2]]]), 6)[..., 0].tolist()  # its left side is up: turned clockwise
    [[1], [2]]
    """
    if orientation == UPRIGHT:
        return image
    if orientation >= FIRST_ON_ITS_SIDE:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)  # OpenCV and Pillow take no views with negative steps


def _in_exif(exif: bytes) -> int:
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return UPRIGHT

    def number(place: int, size: int) -> int:
        return int.from_bytes(exif[place : place + size], order)  # type: ignore[arg-type]

    table = number(4, 4)
    for entry in range(number(table, 2)):
        place = table + 2 + 12 * entry
        if place + 12 > len(exif):
            break
        if number(place, 2) == ORIENTATION_TAG and number(place + 2, 2) == SHORT:
            value = number(place + 8, 2)
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
