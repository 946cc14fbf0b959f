"""Images under the colours of their classes, with the names of those that are there."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from PIL import Image, ImageDraw

from deepmad_jax.config import SegmentConfig
from deepmad_jax.data.decode import size_of
from deepmad_jax.data.masked import Form, Wholes, eval_sizes
from deepmad_jax.data.pairs import IGNORED
from deepmad_jax.tasks.colours import colour_of
from deepmad_jax.tasks.named_images import looked_at
from deepmad_jax.tasks.segment.functions import make_judge_fn
from deepmad_jax.tasks.segment.judging import ROWS
from deepmad_jax.tasks.task import split_network

COLOUR_SHARE = 0.6
"""How much of a pixel is the colour of its class."""

GAP_PX, LINE_PX, SWATCH_PX = 6, 16, 10
SMALL_PX, LARGE_PX = 256, 400
"""Longer sides up to which a report shows a picture larger, and beyond which smaller."""

MOST_NAMED = 12
"""Classes in a picture's legend, those of most pixels first."""


def make_painter(net: Any, segment: SegmentConfig) -> Callable[[bytes], np.ndarray]:
    """Gives the class of every pixel of an image file's bytes, uint8 (height, width).

    As the evaluation does; compiled for each of its shapes once. Raises `CorruptImage` for what is
    no image.
    """
    graphdef, params, stats = split_network(net)
    step = jax.jit(make_judge_fn(graphdef, segment))

    def classes_of(data: bytes) -> np.ndarray:
        height, width = size_of(data)
        canvas = -(-height // ROWS) * ROWS, -(-width // ROWS) * ROWS
        samples = Wholes(segment, Form(eval_sizes((height, width), segment), canvas))
        chunk = samples.empty(1)
        element = {"image": data, "label": None, "name": "", "index": 0}
        samples.maker()(chunk, 0, element, None)
        found = step(params, stats, chunk | {"mask": np.ones(1, np.float32)})
        return np.asarray(found["guess"][0, :height, :width])

    return classes_of


def draw_classes(
    net: Any, names: Sequence[str], segment: SegmentConfig, folder: Path
) -> list[tuple[Path, np.ndarray]]:
    """Colours ``segment.images``, each into a PNG of its name in ``folder``.

    Beside each, ``NAME_classes.png`` has the classes themselves, as an indexed PNG.

    Raises:
        MissingData: a file is not there.
        UserError: a file is no image.
    """
    classes_of, drawn = make_painter(net, segment), []
    folder.mkdir(parents=True, exist_ok=True)
    for stem, pixels, found in looked_at(segment.images, "config.segment.images", classes_of):
        out = folder / f"{stem}.png"
        with_legend([painted(pixels, found, len(names))], [found], names).save(out)
        indexed(found, len(names)).save(folder / f"{stem}_classes.png")
        drawn.append((out, found))
    return drawn


def painted(pixels: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """The image, uint8 (height, width, 3), under its classes' colours; ignored ones stay clear."""
    colours = np.array([colour_of(label, count) for label in range(count)], np.float32)
    known = classes != IGNORED
    out = pixels.astype(np.float32)
    mine = colours[classes[known]]
    out[known] = (1.0 - COLOUR_SHARE) * out[known] + COLOUR_SHARE * mine
    return out.round().astype(np.uint8)


def fitted(pixels: np.ndarray) -> np.ndarray:
    """The picture in a size for a report: each pixel several times, or several averaged."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer <= LARGE_PX:
        times = max(1, SMALL_PX // longer)
        return pixels.repeat(times, 0).repeat(times, 1)
    size = (max(1, width * LARGE_PX // longer), max(1, height * LARGE_PX // longer))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def with_legend(
    panels: Sequence[np.ndarray], shown: Sequence[np.ndarray], names: Sequence[str]
) -> Image.Image:
    """Pictures side by side, and below them the colours and names of the classes in ``shown``."""
    counts = np.bincount(np.concatenate([part.ravel() for part in shown]), minlength=256)
    present = [int(i) for i in np.argsort(-counts[: len(names)], kind="stable") if counts[i]]
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + GAP_PX * (len(panels) - 1)
    lines = _legend_lines([names[i] for i in present[:MOST_NAMED]], width)
    canvas = Image.new("RGB", (width, height + LINE_PX * (lines[-1][2] + 1 if lines else 0)))
    canvas.paste("white", (0, 0, *canvas.size))
    left = 0
    for panel in panels:
        canvas.paste(Image.fromarray(panel), (left, 0))
        left += panel.shape[1] + GAP_PX
    pen = ImageDraw.Draw(canvas)
    for label, (name, x, line) in zip(present, lines, strict=False):
        y = height + LINE_PX * line + 3
        pen.rectangle((x, y, x + SWATCH_PX, y + SWATCH_PX), fill=colour_of(label, len(names)))
        pen.text((x + SWATCH_PX + 4, y - 1), name, fill="black")
    return canvas


def indexed(classes: np.ndarray, count: int) -> Image.Image:
    """The classes as an image of indices whose palette has their colours."""
    image = Image.fromarray(classes)
    image.putpalette([value for label in range(count) for value in colour_of(label, count)])
    return image


def _legend_lines(names: Sequence[str], width: int) -> list[tuple[str, int, int]]:
    """Every name with its left end and its line, within ``width`` pixels."""
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    x, line, places = 0, 0, []
    for name in names:
        needed = round(measure.textlength(name)) + SWATCH_PX + 14
        if x and x + needed > width:
            x, line = 0, line + 1
        places.append((name, x, line))
        x += needed
    return places
