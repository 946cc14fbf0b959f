"""Every operation against Pillow, on a smooth picture, a noisy one, a dark one and a grey one."""

import numpy as np
import pytest
from jpeg_set import picture
from PIL import Image, ImageEnhance, ImageOps

from deepmad_jax.data.augment import ops

FILL = (124, 116, 104)


def noisy(channels=3):
    return np.random.default_rng(0).integers(0, 256, size=(37, 52, channels), dtype=np.uint8)


IMAGES = {
    "smooth": picture(3),
    "noisy": noisy(),
    "dark": noisy() // 5 + 20,
    "one value": np.full((20, 20, 3), 77, np.uint8),
    "grey": noisy(1),
}


def in_pillow(function, image):
    pillow = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(function(pillow)).reshape(image.shape)


def solarize_add(pillow, added):
    return pillow.point(
        [min(255, v + added) if v < 128 else v for v in range(256)] * len(pillow.getbands())
    )


EXACT = {
    "auto_contrast": (ops.auto_contrast, ImageOps.autocontrast),
    "equalize": (ops.equalize, ImageOps.equalize),
    "invert": (ops.invert, ImageOps.invert),
    "posterize to 1 bit": (lambda i: ops.posterize(i, 1), lambda p: ImageOps.posterize(p, 1)),
    "posterize to 3 bits": (lambda i: ops.posterize(i, 3), lambda p: ImageOps.posterize(p, 3)),
    "posterize to 8 bits": (lambda i: ops.posterize(i, 8), lambda p: ImageOps.posterize(p, 8)),
    "solarize 0": (lambda i: ops.solarize(i, 0), lambda p: ImageOps.solarize(p, 0)),
    "solarize 26": (lambda i: ops.solarize(i, 26), lambda p: ImageOps.solarize(p, 26)),
    "solarize 256": (lambda i: ops.solarize(i, 256), lambda p: ImageOps.solarize(p, 256)),
    "solarize_add 99": (lambda i: ops.solarize_add(i, 99), lambda p: solarize_add(p, 99)),
}

# name -> ours, Pillow's class; all take a factor.
ENHANCERS = {
    "color": (ops.color, ImageEnhance.Color),
    "contrast": (ops.contrast, ImageEnhance.Contrast),
    "brightness": (ops.brightness, ImageEnhance.Brightness),
    "sharpness": (ops.sharpness, ImageEnhance.Sharpness),
}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("name", EXACT)
def test_table_operation_is_pillows_exactly(name, kind):
    ours, pillows = EXACT[name]
    np.testing.assert_array_equal(ours(IMAGES[kind]), in_pillow(pillows, IMAGES[kind]))


def test_posterize_to_no_bits_is_black():
    # timm asks for it at level 10; Pillow 13 refuses it, earlier ones gave black.
    assert (ops.posterize(IMAGES["noisy"], 0) == 0).all()


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("name", ENHANCERS)
@pytest.mark.parametrize("factor", [0.0, 0.1, 0.7, 1.0, 1.9])
def test_blend_is_pillows_within_rounding(name, kind, factor):
    ours, enhancer = ENHANCERS[name]
    result = ours(IMAGES[kind], factor).astype(int)
    expected = in_pillow(lambda p: enhancer(p).enhance(factor), IMAGES[kind])
    # One for Pillow's truncation; the grey or smooth image that is blended in is rounded too,
    # which a factor of 1.9 carries over by 0.9.
    assert np.abs(result - expected).max() <= 2
    assert np.abs(result - expected).mean() < 0.8


# name -> ours and Pillow's way to it, with timm's arguments, as (image, interpolation, resampling).
MOVES = {
    "rotate 27": (
        lambda i, kind: ops.rotate(i, 27, kind, FILL),
        lambda p, kind: p.rotate(27, kind, fillcolor=FILL),
    ),
    "rotate -8.5": (
        lambda i, kind: ops.rotate(i, -8.5, kind, FILL),
        lambda p, kind: p.rotate(-8.5, kind, fillcolor=FILL),
    ),
    "shear_x": (
        lambda i, kind: ops.shear_x(i, 0.27, kind, FILL),
        lambda p, kind: p.transform(
            p.size, Image.AFFINE, (1, 0.27, 0, 0, 1, 0), kind, fillcolor=FILL
        ),
    ),
    "shear_y": (
        lambda i, kind: ops.shear_y(i, -0.2, kind, FILL),
        lambda p, kind: p.transform(
            p.size, Image.AFFINE, (1, 0, 0, -0.2, 1, 0), kind, fillcolor=FILL
        ),
    ),
    "translate_x": (
        lambda i, kind: ops.translate_x(i, 11.3, kind, FILL),
        lambda p, kind: p.transform(
            p.size, Image.AFFINE, (1, 0, 11.3, 0, 1, 0), kind, fillcolor=FILL
        ),
    ),
    "translate_y": (
        lambda i, kind: ops.translate_y(i, -7.0, kind, FILL),
        lambda p, kind: p.transform(
            p.size, Image.AFFINE, (1, 0, 0, 0, 1, -7.0), kind, fillcolor=FILL
        ),
    ),
}


@pytest.mark.parametrize(
    ("kind", "resampling"),
    [
        ("nearest", Image.Resampling.NEAREST),
        ("linear", Image.Resampling.BILINEAR),
        ("cubic", Image.Resampling.BICUBIC),
    ],
)
@pytest.mark.parametrize("name", MOVES)
def test_move_is_pillows_but_for_the_edge_of_what_was_moved(name, kind, resampling):
    ours, pillows = MOVES[name]
    image = picture(3)
    result = ours(image, kind).astype(int)
    expected = np.asarray(pillows(Image.fromarray(image), resampling)).astype(int)
    # The edge: next to a pixel that Pillow fills, or at the border.
    filled = (expected == FILL).all(-1)
    padded = np.pad(filled, 2, constant_values=True)
    height, width = filled.shape
    near = np.any([padded[y : y + height, x : x + width] for y in range(5) for x in range(5)], 0)
    assert (~near).sum() > 1000
    # The picture changes by at most 7 a pixel; a wrong centre would move it by half of one, and a
    # wrong direction by many. Nearest may take either neighbour of a place in the middle.
    far = np.abs(result - expected).max(-1)[~near]
    assert far.max() <= (7 if kind == "nearest" else 1)
    assert far.mean() < 1
    inside = np.array([padded[y : y + height, x : x + width] for y in range(5) for x in range(5)])
    assert (result[inside.all(0)] == FILL).all()


@pytest.mark.parametrize("name", [*EXACT, *MOVES])
def test_operations_leave_their_argument_alone(name):
    image = picture(3)
    before = image.copy()
    if name in MOVES:
        MOVES[name][0](image, "linear")
    else:
        EXACT[name][0](image)
    np.testing.assert_array_equal(image, before)


def test_moves_keep_a_grey_image_grey():
    assert ops.rotate(IMAGES["grey"], 10, "linear", (128,)).shape == (37, 52, 1)
