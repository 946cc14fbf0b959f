"""The picture that a person sees, from whatever Pillow has read: uint8, grey or RGB.

Pillow's own conversions clip 16-bit grey to white, uncover what lies under transparent pixels and
guess at the range of floats. Here each kind of file becomes what a viewer shows on a white page,
and where nothing says which value is white, the image counts as one that cannot be read. Colour
profiles are not applied, as nowhere in the training of networks.
"""

import functools
from typing import Any

import numpy as np
from PIL import Image, ImageCms

MOST_16_BIT = 2**16 - 1

BITS_TAG, PHOTOMETRIC_TAG, WHITE_IS_ZERO = 258, 262, 0
"""Of TIFF files."""

PNG_DEPTH_BYTE = 24
"""Where a PNG says how many bits a value has: after signature, length, name, width and height."""


class UnknownLook(ValueError):
    """An image whose pixels no viewer can show without being told more."""


def seen(image: Image.Image, data: bytes, channels: int) -> np.ndarray:
    """The pixels of the first frame, uint8, shape (height, width, channels).

    Args:
        image: opened; what `upright` is about, Pillow does for TIFF files and nobody for others.
        data: the file that it was opened from.
        channels: 3 or 1.
    Raises:
        UnknownLook: 32-bit integers or floats, whose range no file says.
    """
    image.load()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = _from_16_bits(image)
    elif image.mode in ("I", "F"):
        kind = "floats" if image.mode == "F" else "integers of more than 16 bits or with a sign"
        raise UnknownLook(
            f"its pixels are {kind}, and nothing says which value is white; save it with 8 or 16 "
            "bits a value"
        )
    elif image.mode == "LAB":
        image = ImageCms.applyTransform(image, _lab_to_rgb())  # type: ignore[assignment]
    else:
        _mend_transparent_colour(image, data)
    if image.has_transparency_data:
        image = _on_white(image)
    pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    return pixels.reshape(image.height, image.width, channels)


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of 12 in a TIFF, to 8; the colour that a PNG calls transparent is white.

    PGM files of any depth come with their white at 65535.
    """
    values = np.asarray(image).astype(np.uint32)
    tags: Any = getattr(image, "tag_v2", {})
    (bits,) = tags.get(BITS_TAG, (16,))
    most = min(2**bits - 1, MOST_16_BIT)
    grey = (255 * values + most // 2) // most
    if tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey.astype(np.uint8))


def _mend_transparent_colour(image: Image.Image, data: bytes) -> None:
    """A PNG names it in the file's own depth, the pixels are 8-bit by now."""
    colour = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("L", "RGB") or colour is None:
        return
    depth = data[PNG_DEPTH_BYTE]
    if depth == 16:  # Pillow keeps the upper half of each value
        image.info["transparency"] = tuple(value >> 8 for value in colour)
    elif depth in (2, 4):  # as one bit and 8 bits are, Pillow's already
        image.info["transparency"] = colour * 255 // (2**depth - 1)


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image.convert("RGBA"))
    return page.convert("RGB")


@functools.cache
def _lab_to_rgb() -> ImageCms.ImageCmsTransform:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, rgb, "LAB", "RGB")
