"""PNG, TIFF and EXIF bytes put together from their specifications, so that no library is in it."""

import struct
import zlib

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""PNG's colour types."""


def png(values, depth, colour_type, **chunks):
    """A PNG of integer ``values``, shape (height, width) or (height, width, samples).

    Args:
        depth: bits a value.
        chunks: further ones by name, such as tRNS, before the pixels.
    """
    values = np.asarray(values)
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + _packed(row.reshape(-1), depth) for row in values)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = [("IHDR", header), *chunks.items(), ("IDAT", zlib.compress(rows)), ("IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name.encode()
        + content
        + struct.pack(">I", zlib.crc32(name.encode() + content))
        for name, content in body
    )


def tiff(values, bits, *, white_is_zero=False, sample_format=1, dtype="<u2"):
    """A grey TIFF, uncompressed; 12-bit values are packed, others are written as ``dtype``."""
    values = np.asarray(values)
    height, width = values.shape
    if bits == 12:
        pixels = b"".join(_packed(row, 12) for row in values)
    else:
        pixels = values.astype(dtype).tobytes()
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: 0 if white_is_zero else 1,
        273: 8,
        277: 1,
        278: height,
        279: len(pixels),
        339: sample_format,
    }
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    pixels += b"\0" * (len(pixels) % 2)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    return start + pixels + struct.pack("<H", len(tags)) + table + b"\0\0\0\0"


def exif(orientation, order="<"):
    """The EXIF that says nothing but how the picture stands."""
    mark = b"II" if order == "<" else b"MM"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "HIH", 42, 8, 1) + entry + b"\0\0\0\0"


def with_exif(jpeg, content):
    """The JPEG with that EXIF behind its first segment (JFIF)."""
    place = 4 + int.from_bytes(jpeg[4:6], "big")
    segment = b"Exif\0\0" + content
    return jpeg[:place] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[place:]


def _packed(row, depth):
    bits = (row.astype(np.int64)[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes()
