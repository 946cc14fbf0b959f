import io

import numpy as np
import pytest
from jpeg_set import jpeg, picture
from PIL import Image

from deepmad_jax.data import images


def test_centre_cut_is_resizing_the_short_side_and_cutting_the_middle():
    array = picture(8)  # 48 x 64: smooth, so that the two ways differ by rounding only
    pillow = images.to_pillow(array, 3)
    ours = images.cut(pillow, images.centre_box(*pillow.size, 0.75), 24, 3)
    resized = np.asarray(pillow.resize((round(64 * 32 / 48), 32), Image.Resampling.BICUBIC))
    left = (resized.shape[1] - 24) / 2
    other = resized[4:28, int(left) : int(left) + 24]
    assert ours.shape == (24, 24, 3)
    # Green grows by 6 a pixel: the rounded width and the half pixel of `left` cost less than that.
    assert np.abs(ours.astype(int) - other).max() <= 6
    assert np.abs(ours[..., [0, 2]].astype(int) - other[..., [0, 2]]).max() <= 1


def test_whole_square_at_its_own_size_is_unchanged():
    square = picture(16)[:56, :56]
    pillow = images.to_pillow(square, 3)
    cut = images.cut(pillow, images.centre_box(56, 56, 1.0), 56, 3)
    np.testing.assert_array_equal(cut, square)


def test_random_boxes_lie_inside_and_keep_to_area_and_aspect():
    rng = np.random.default_rng(0)
    shares, aspects = [], []
    for _ in range(500):
        left, top, right, bottom = images.random_box(rng, 500, 375)
        assert left >= 0
        assert top >= 0
        assert right <= 500
        assert bottom <= 375
        shares.append((right - left) * (bottom - top) / (500 * 375))
        aspects.append((right - left) / (bottom - top))
    # Whole pixels move a small box's area and aspect by about 1 %.
    assert 0.079 < min(shares) < 0.12
    assert max(shares) > 0.9
    assert 0.74 < min(aspects) < 0.8
    assert 1.25 < max(aspects) < 1.35


def test_random_box_of_a_strip_is_its_middle():
    box = images.random_box(np.random.default_rng(0), 1000, 10)
    assert box == pytest.approx((500 - 20 / 3, 0, 500 + 20 / 3, 10))


def test_flip_mirrors_half_of_the_images():
    rng = np.random.default_rng(0)
    image = np.arange(12).reshape(2, 3, 2)
    flipped = [images.random_flip(rng, image) for _ in range(400)]
    mirrored = sum(bool((f == image[:, [2, 1, 0]]).all()) for f in flipped)
    assert all((f == image).all() or (f == image[:, [2, 1, 0]]).all() for f in flipped)
    assert 150 < mirrored < 250  # five standard deviations


def test_shift_moves_by_at_most_an_eighth_and_fills_with_zeros():
    rng = np.random.default_rng(0)
    image = np.arange(1, 257, dtype=np.int32).reshape(16, 16, 1)
    moves = set()
    for _ in range(300):
        shifted = images.random_shift(rng, image)
        # The pixel in the middle is never shifted out; its value tells where it came from.
        y, x = divmod(int(shifted[8, 8, 0]) - 1, 16)
        moves.add((8 - y, 8 - x))
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        np.testing.assert_array_equal(shifted, padded[y - 4 :, x - 4 :][:16, :16])
    assert moves == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_every_kind_of_jpeg_becomes_rgb(mode):
    buffer = io.BytesIO()
    Image.fromarray(picture(0)).convert(mode).save(buffer, "JPEG")
    assert np.asarray(images.to_pillow(buffer.getvalue(), 3)).shape == (40, 72, 3)


def test_colour_file_becomes_grey_for_one_channel():
    pillow = images.to_pillow(jpeg(picture(0)), 1)
    assert images.cut(pillow, (0, 0, 72, 40), 8, 1).shape == (8, 8, 1)
