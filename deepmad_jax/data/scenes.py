"""Small sets of drawn scenes with a class for every pixel, in ADE20K's layout.

A sky above ground, and on them discs, rectangles, triangles and rings of any colour: objects are
told by their shape, what lies behind by its texture. They have what real labels have: images of
several sizes, objects that overlap and leave the image, classes of few pixels, and outlines that
nobody has labelled (0, as in ADE20K).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CLASSES = ("sky", "ground", "disc", "rectangle", "triangle", "ring")
"""By label, from 1 on; 0 is none."""

SIZES = ((96, 128), (128, 96), (128, 128), (96, 144))
"""Heights and widths of the images, in turn, where nothing else is asked for."""

SMALLEST, LARGEST = 0.25, 0.55
"""Sides of the objects, as shares of the image's short side."""

OBJECTS = (2, 5)
"""From and up to, without the end."""

NOISE = 8.0
STANDS_OUT = 60.0
"""Least difference of an object's colour from what is behind it, in one channel of 0 to 255."""

CORNERS_OF_A_DISC = 48
STRIPE_PX = 6


def draw_scenes(
    root: Path,
    images: dict[str, int],
    seed: int = 0,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> None:
    """Writes ``images/SPLIT``, ``annotations/SPLIT`` and ``classes.txt`` below ``root``.

    Args:
        root: made where it is not there.
        images: how many, by split.
        seed: of everything that is drawn.
        sizes: heights and widths of the images, in turn.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for place, (split, count) in enumerate(images.items()):
        rng = np.random.Generator(np.random.Philox((seed, place)))
        folders = [root / kind / split for kind in ("images", "annotations")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels, labels = scene(rng, sizes[number % len(sizes)])
            bgr = np.ascontiguousarray(pixels[..., ::-1])
            cv2.imwrite(str(folders[0] / f"{number:06}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
            indices = Image.fromarray(labels)
            # Any colours will do: it is the indices that count.
            indices.putpalette([(37 * i) % 256 for i in range(3 * (len(CLASSES) + 1))])
            indices.save(folders[1] / f"{number:06}.png")


def scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image, RGB uint8 (height, width, 3), and its labels, uint8 (height, width)."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    # The horizon leans.
    horizon = rng.uniform(0.3, 0.7) * height + rng.uniform(-0.15, 0.15) * (columns - width / 2)
    labels = np.where(rows < horizon, 1, 2).astype(np.uint8)
    image = np.where(
        (labels == 1)[..., None], _sky(rng, rows / height), _ground(rng, rows, columns)
    )
    for _ in range(int(rng.integers(*OBJECTS))):
        kind = int(rng.integers(3, len(CLASSES) + 1))
        mask, outline = _object(rng, CLASSES[kind - 1], height, width)
        if not mask.any():
            continue
        labels[mask] = kind
        labels[outline] = 0
        image[mask | outline] = _colour(rng, image[mask | outline].mean(0))
    image = image + rng.normal(0, NOISE, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


def _sky(rng: np.random.Generator, share: np.ndarray) -> np.ndarray:
    """One colour that fades into another from the top down."""
    top, bottom = rng.uniform(60, 255, (2, 3))
    return top + (bottom - top) * share[..., None]


def _ground(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Stripes of two colours, in any direction."""
    one, other = rng.uniform(20, 235, (2, 3))
    while np.abs(one - other).max() < 60:
        other = rng.uniform(20, 235, 3)
    turn = rng.uniform(0, math.pi)
    along = math.cos(turn) * rows + math.sin(turn) * columns
    dark = (along // STRIPE_PX) % 2 == 0
    return np.where(dark[..., None], one, other)


def _colour(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """One that stands out from what lies behind it, on average."""
    colour = rng.uniform(0, 255, 3)
    while np.abs(colour - behind).max() < STANDS_OUT:
        colour = rng.uniform(0, 255, 3)
    return colour


def _object(
    rng: np.random.Generator, name: str, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of an object and those of its outline, boolean."""
    side = rng.uniform(SMALLEST, LARGEST) * min(height, width)
    centre = rng.uniform(0.1, 0.9, 2) * (width, height)
    turn = rng.uniform(0, 2 * math.pi)
    if name == "rectangle":
        local = side / 2 * np.array([[-1, -0.7], [1, -0.7], [1, 0.7], [-1, 0.7]])
    else:
        count = 3 if name == "triangle" else CORNERS_OF_A_DISC
        angles = 2 * math.pi * np.arange(count) / count
        local = side / 2 * np.stack([np.cos(angles), np.sin(angles)], 1)
    cos, sin = math.cos(turn), math.sin(turn)
    around = local @ np.array([[cos, sin], [-sin, cos]])
    canvas = np.zeros((height, width), np.uint8)
    corners = _whole(centre + around)
    cv2.fillPoly(canvas, [corners], 1)
    holes = [_whole(centre + around / 2)] if name == "ring" else []
    for hole in holes:
        cv2.fillPoly(canvas, [hole], 0)
    outline = np.zeros((height, width), np.uint8)
    cv2.polylines(outline, [corners, *holes], True, 1)
    return (canvas > 0) & (outline == 0), outline > 0


def _whole(corners: np.ndarray) -> np.ndarray:
    return np.round(corners).astype(np.int32)
