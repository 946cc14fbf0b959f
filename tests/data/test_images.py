import numpy as np
import pytest
from jpeg_set import jpeg, picture
from PIL import Image

from deepmad_jax.data import images


def test_centre_cut_is_resizing_the_short_side_and_cutting_the_middle():
    array = picture(8)  # 48 x 64: smooth, so that the two ways differ by rounding only
    ours = images.cut(array, images.centre_box(64, 48, 0.75), 24)
    resized = np.asarray(
        Image.fromarray(array).resize((round(64 * 32 / 48), 32), Image.Resampling.BICUBIC)
    )
    left = (resized.shape[1] - 24) / 2
    other = resized[4:28, int(left) : int(left) + 24]
    assert ours.shape == (24, 24, 3)
    # Green grows by 6 a pixel: the rounded width and the half pixel of `left` cost less than that.
    assert np.abs(ours.astype(int) - other).max() <= 6
    assert np.abs(ours[..., [0, 2]].astype(int) - other[..., [0, 2]]).max() <= 1


def test_whole_square_at_its_own_size_is_unchanged():
    square = picture(16)[:56, :56]
    cut = images.cut(square, images.centre_box(56, 56, 1.0), 56)
    np.testing.assert_array_equal(cut, square)


def test_random_boxes_lie_inside_and_keep_to_area_and_aspect():
    rng = np.random.default_rng(0)
    shares, aspects = [], []
    for _ in range(500):
        left, top, right, bottom = images.random_box(rng, 500, 375, 0.08)
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
    box = images.random_box(np.random.default_rng(0), 1000, 10, 0.08)
    assert box == (493, 0, 506, 10)  # 10 * 4 / 3 wide, in whole pixels


def test_flip_mirrors_half_of_the_images():
    rng = np.random.default_rng(0)
    image = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
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


def random_cut(rng, image, **options):
    defaults = {"channels": 3, "resolution_px": 32, "scale_min": 1.0, "interpolation": "linear"}
    return images.random_cut(rng, image, **(defaults | options))


@pytest.mark.parametrize("interpolation", ["linear", "area", "bilinear", "bicubic", "random"])
def test_random_cut_of_a_file_is_that_of_its_pixels_resized_by_pillow(interpolation):
    # 80 x 80: the whole image (scale 1, and every other aspect does not fit), decoded in full.
    array = np.ascontiguousarray(picture(40)[:32, :32].repeat(2, 0).repeat(2, 1)[:60, :60])
    smooth = np.asarray(Image.fromarray(array).resize((80, 80), Image.Resampling.BICUBIC))
    resized = {}
    for name, image in (("file", jpeg(smooth)), ("pixels", smooth)):
        rng = np.random.default_rng(0)
        resized[name] = random_cut(
            rng, image, resolution_px=48, scale_min=0.3, interpolation=interpolation
        )
    box = images.random_box(np.random.default_rng(0), 80, 80, 0.3)
    expected = np.asarray(Image.fromarray(smooth).resize((48, 48), Image.BILINEAR, box=box))
    # JPEG at quality 95 and the different kernels move a smooth picture by a few grey levels.
    for ours in resized.values():
        assert ours.shape == (48, 48, 3)
        assert np.abs(ours.astype(int) - expected).mean() < 3


def test_large_files_are_decoded_small_and_cut_at_the_same_place():
    array = np.asarray(Image.fromarray(picture(0)).resize((720, 400), Image.Resampling.BICUBIC))
    for seed in range(6):
        small = random_cut(np.random.default_rng(seed), jpeg(array), scale_min=0.08)
        whole = random_cut(np.random.default_rng(seed), array, scale_min=0.08, interpolation="area")
        # A quarter of a decoded pixel of misplacement would cost 2 grey levels in this picture.
        assert np.abs(small.astype(int) - whole).mean() < 2


def test_colour_file_becomes_grey_for_one_channel():
    cut = random_cut(np.random.default_rng(0), jpeg(picture(0)), channels=1, resolution_px=8)
    assert cut.shape == (8, 8, 1)
