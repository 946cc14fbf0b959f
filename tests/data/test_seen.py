"""Every kind of image file becomes the picture that a person sees."""

import io
import struct

import numpy as np
import pytest
from jpeg_set import jpeg, picture
from PIL import Image, ImageCms
from written_by_hand import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, exif, png, tiff, with_exif

from deepmad_jax.data.decode import CorruptImage, decode, size_of
from deepmad_jax.data.images import random_cut


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def values_of(depth, samples=1):
    """From 0 to the greatest value of that depth, 9 of them or all there are, in two rows."""
    most = 2**depth - 1
    row = np.unique(np.linspace(0, most, 9).round().astype(int))
    values = np.stack([row, row[::-1]])
    return np.stack([np.roll(values, i, axis=1) for i in range(samples)], axis=-1)


def eight_bits(values, depth):
    return np.round(255 * values / (2**depth - 1))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth_runs_from_black_to_white(depth):
    values = values_of(depth)
    data = png(values, depth, GREY)
    for channels in (1, 3):
        expected = np.broadcast_to(eight_bits(values, depth), (*values.shape[:2], channels))
        np.testing.assert_array_equal(decode(data, channels), expected)
    assert size_of(data) == values.shape[:2]


@pytest.mark.parametrize("depth", [8, 16])
def test_colour_png_of_every_depth_keeps_its_colours(depth):
    values = values_of(depth, samples=3)
    # Pillow cuts 16 bits off at the upper 8, which is at most one below the nearest value.
    difference = eight_bits(values, depth) - decode(png(values, depth, RGB), 3)
    assert np.abs(difference).max() <= (depth == 16)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_png_of_every_depth_has_the_colours_of_its_palette(depth):
    palette = np.random.default_rng(0).integers(0, 256, (2**depth, 3), dtype=np.uint8)
    values = values_of(depth)[..., 0]
    data = png(values, depth, PALETTE, PLTE=palette.tobytes())
    np.testing.assert_array_equal(decode(data, 3), palette[values])
    # The first colour transparent, so white; the second half so.
    data = png(values, depth, PALETTE, PLTE=palette.tobytes(), tRNS=b"\x00\x80")
    shown = palette.astype(float)
    shown[0] = 255
    shown[1] = 255 + 128 / 255 * (shown[1] - 255)
    assert np.abs(decode(data, 3) - shown[values]).max() <= 1  # rounding


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour_type", [GREY_ALPHA, RGB_ALPHA])
def test_transparent_pixels_show_the_white_page_and_never_the_colour_under_them(depth, colour_type):
    samples = 2 if colour_type == GREY_ALPHA else 4
    values = np.random.default_rng(0).integers(0, 2**depth, (5, 7, samples))
    values[0, :, -1], values[1, :, -1] = 0, 2**depth - 1
    colour, opacity = values[..., :-1] / (2**depth - 1), values[..., -1:] / (2**depth - 1)
    shown = np.broadcast_to(255 * (1 - opacity + opacity * colour), (5, 7, 3))
    pixels = decode(png(values, depth, colour_type), 3)
    assert (pixels[0] == 255).all()
    assert np.abs(pixels - shown).max() <= 2  # both factors rounded to 8 bits, and the product
    grey = decode(png(values, depth, colour_type), 1)[..., 0]
    assert np.abs(grey - shown @ [0.299, 0.587, 0.114]).max() <= 3


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_colour_that_a_grey_png_calls_transparent_is_white(depth):
    values = values_of(depth)[..., 0]
    shown = eight_bits(values, depth)
    key = int(values[0, 1 if depth > 1 else 0])
    shown[values == key] = 255
    data = png(values, depth, GREY, tRNS=struct.pack(">H", key))
    np.testing.assert_array_equal(decode(data, 1)[..., 0], shown)


@pytest.mark.parametrize("depth", [8, 16])
def test_colour_that_a_colour_png_calls_transparent_is_white(depth):
    values = values_of(depth, samples=3)
    data = png(values, depth, RGB, tRNS=struct.pack(">3H", *values[1, 2]))
    is_key = (values == values[1, 2]).all(-1)
    assert 0 < is_key.sum() < is_key.size
    pixels = decode(data, 3)
    assert (pixels[is_key] == 255).all()
    assert np.abs(pixels - eight_bits(values, depth))[~is_key].max() <= 1


@pytest.mark.parametrize(
    ("bits", "white_is_zero"), [(8, False), (8, True), (12, False), (16, False), (16, True)]
)
def test_grey_tiff_of_every_depth_runs_from_black_to_white(bits, white_is_zero):
    values = values_of(bits)[..., 0]
    data = tiff(values, bits, white_is_zero=white_is_zero, dtype="u1" if bits == 8 else "<u2")
    shown = eight_bits(values, bits)
    np.testing.assert_array_equal(decode(data, 1)[..., 0], 255 - shown if white_is_zero else shown)


@pytest.mark.parametrize("big_endian", [False, True])
def test_grey_tiff_of_16_bits_is_read_in_both_orders_of_bytes(big_endian):
    image = Image.fromarray(values_of(16)[..., 0].astype(">u2" if big_endian else "<u2"))
    np.testing.assert_array_equal(
        decode(encoded(image, "TIFF"), 1)[..., 0], eight_bits(values_of(16)[..., 0], 16)
    )


@pytest.mark.parametrize("most", [1, 100, 255, 1023, 65535])
def test_white_of_a_pgm_is_the_greatest_value_that_it_names(most):
    values = np.linspace(0, most, 5).round().astype(int)
    content = values.astype("u1" if most < 256 else ">u2").tobytes()
    pixels = decode(b"P5 5 1 %d\n" % most + content, 1)[0, :, 0]
    np.testing.assert_allclose(pixels, 255 * values / most, atol=1)  # rounded once or twice


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("floats", {"bits": 32, "sample_format": 3, "dtype": "<f4"}),
        ("integers", {"bits": 32, "sample_format": 2, "dtype": "<i4"}),
        ("integers", {"bits": 16, "sample_format": 2, "dtype": "<i2"}),
    ],
)
def test_values_without_a_known_white_are_refused_with_the_reason(kind, options):
    data = tiff(np.arange(6).reshape(2, 3), **options)
    with pytest.raises(CorruptImage, match=f"pixels are {kind}.*which value is white.*8 or 16 bit"):
        decode(data, 3)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_printing_colours_are_seen_as_on_paper(kind):
    # Cyan, magenta, yellow, black, and nothing: without inks paper is white.
    inks = np.zeros((16, 80, 4), np.uint8)
    for i in range(4):
        inks[:, 16 * i : 16 * i + 16, i] = 255
    data = encoded(Image.fromarray(inks, "CMYK"), kind)
    seen = decode(data, 3)[8, 8::16]
    paper = [(0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0), (255, 255, 255)]
    assert np.abs(seen.astype(int) - paper).max() <= 4  # JPEG's rounding


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_colour_spaces_become_rgb(mode):
    image = Image.fromarray(picture(0))
    if mode == "LAB":
        profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    pixels = decode(encoded(image.convert(mode), "TIFF"), 3)
    # 8 bits of lightness and of two colour differences hold RGB to a few levels.
    assert np.abs(pixels.astype(int) - picture(0)).mean() < 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation_is_read(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    options = {"save_all": True, "append_images": frames[1:]}
    data = encoded(frames[0], kind, **options, **({"lossless": True} if kind == "WEBP" else {}))
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (decode(data, 3) == (255, 0, 0)).all()


def test_transparent_part_of_a_gif_is_white():
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, 200, 30, 30])
    image.paste(0, (0, 0, 4, 6))
    pixels = decode(encoded(image, "GIF", transparency=0), 3)
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == (200, 30, 30)).all()


SEEN = np.arange(1, 7).reshape(2, 3) * 40
"""What a person sees, in tiles."""

SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""Where a person sees the first row and the first column of the file, by EXIF 2.32."""


def stored(orientation):
    first_row, first_column = SIDES[orientation]
    lies = SEEN if first_row in ("top", "bottom") else SEEN.T
    lies = lies[::-1] if first_row in ("bottom", "right") else lies
    return lies[:, ::-1] if first_column in ("bottom", "right") else lies


def tiles(array):
    return np.ascontiguousarray(array.repeat(16, 0).repeat(16, 1)[..., None].repeat(3, -1))


def photograph(orientation, kind, order="<"):
    pixels = tiles(stored(orientation)).astype(np.uint8)
    if kind == "JPEG":
        return with_exif(jpeg(pixels), exif(orientation, order))
    if kind == "CMYK":  # which simplejpeg leaves to Pillow
        image = Image.fromarray(pixels).convert("CMYK")
        return encoded(image, "JPEG", quality=95, exif=b"Exif\0\0" + exif(orientation))
    if kind == "TIFF":
        return encoded(Image.fromarray(pixels), kind, tiffinfo={274: orientation})
    return encoded(Image.fromarray(pixels), kind, exif=exif(orientation), lossless=True)


@pytest.mark.parametrize("kind", ["JPEG", "CMYK", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photograph_stands_upright(orientation, kind):
    data = photograph(orientation, kind)
    assert size_of(data) == (32, 48)
    for channels in (1, 3):
        pixels = decode(data, channels)
        assert pixels.shape == (32, 48, channels)
        assert np.abs(pixels.astype(int) - tiles(SEEN)[..., :channels]).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_random_cut_of_a_turned_photograph_is_that_of_the_upright_one(orientation):
    upright, turned = photograph(1, "JPEG"), photograph(orientation, "JPEG", order=">")
    for side in (8, 32):  # decoded small, and in full
        for seed in range(4):
            cuts = [
                random_cut(
                    np.random.default_rng(seed),
                    data,
                    channels=3,
                    resolution_px=side,
                    scale_min=0.2,
                    interpolation="linear",
                ).astype(int)
                for data in (upright, turned)
            ]
            # JPEG's 16-pixel units are the tiles, but smooth their edges otherwise when turned.
            assert np.abs(cuts[0] - cuts[1]).mean() < 4


@pytest.mark.parametrize("content", [b"", b"II", exif(0), exif(9), exif(6)[:15], b"XX" + exif(6)])
def test_damaged_word_on_how_it_stands_leaves_the_picture_as_it_is(content):
    data = with_exif(jpeg(tiles(SEEN).astype(np.uint8)), content)
    assert decode(data, 3).shape == (32, 48, 3)
    assert size_of(data) == (32, 48)


def test_word_beside_the_exif_turns_no_photograph_that_pillow_decodes():
    # Pillow alone would take the orientation from XMP too, and the header's size would be wrong.
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(Image.fromarray(tiles(SEEN).astype(np.uint8)).convert("CMYK"), "JPEG", xmp=xmp)
    assert b'Orientation="6"' in data
    assert size_of(data) == decode(data, 3).shape[:2] == (32, 48)
