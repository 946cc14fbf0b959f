import io

import numpy as np
import pytest
from jpeg_set import jpeg, picture
from PIL import Image

from deepmad_jax.data.decode import CorruptImage, decode, size_of


def encoded(array, kind, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_has_the_pixels_that_pillow_decodes(options):
    data = encoded(picture(0), "JPEG", quality=90, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    # Both are libjpeg-turbo, built apart.
    assert np.abs(decode(data, 3).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_other_files_have_the_pixels_that_pillow_decodes(kind):
    data = encoded(picture(0), kind)
    np.testing.assert_array_equal(decode(data, 3), np.asarray(Image.open(io.BytesIO(data))))
    assert size_of(data) == (40, 72)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_every_kind_of_jpeg_becomes_rgb_or_grey(mode):
    data = encoded(picture(0), "JPEG", mode)
    assert size_of(data) == (40, 72)
    grey = np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int)
    assert decode(data, 3).shape == (40, 72, 3)
    # Of a colour JPEG simplejpeg takes the luma channel, Pillow the weighted sum of RGB.
    assert np.abs(decode(data, 1)[..., 0] - grey).max() <= 3


def test_large_jpeg_is_decoded_at_the_smallest_power_of_two_that_is_large_enough():
    data = jpeg(np.zeros((400, 720, 3), np.uint8))
    sides = {least: decode(data, 3, (least, least)).shape[:2] for least in (401, 201, 200, 99, 20)}
    assert sides == {
        401: (400, 720),
        201: (400, 720),
        200: (200, 360),
        99: (100, 180),
        20: (50, 90),
    }


@pytest.mark.parametrize(
    "data", [b"", b"no image", jpeg(picture(0))[:20], jpeg(picture(0))[:700]], ids=len
)
def test_damaged_file_is_corrupt(data):
    with pytest.raises(CorruptImage):
        decode(data, 3)


def test_recoverable_jpeg_is_read():
    # Rubbish after the end: strict readers complain, the image is whole.
    assert decode(jpeg(picture(0)) + b"rubbish", 3).shape == (40, 72, 3)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("rows", [1, 40, 64, 150, 300])
def test_rows_wanted_are_those_of_the_whole_image(options, rows):
    noise = np.random.default_rng(0).integers(0, 256, size=(300, 120, 3), dtype=np.uint8)
    data = encoded(noise, "JPEG", quality=90, **options)
    some = decode(data, 3, rows=rows)
    np.testing.assert_array_equal(some[:rows], decode(data, 3)[:rows])
    assert len(some) == (
        300 if options.get("progressive") or rows == 300 else -(-rows // 16) * 16 + 16
    )


def test_image_that_is_decoded_small_keeps_all_its_rows():
    data = jpeg(np.zeros((400, 720, 3), np.uint8))
    assert decode(data, 3, (100, 100), rows=30).shape == (100, 180, 3)


def test_truncated_file_is_corrupt_even_where_few_rows_are_wanted():
    with pytest.raises(CorruptImage):
        decode(jpeg(np.zeros((400, 720, 3), np.uint8))[:-40], 3, rows=10)
