"""Boxes and masks drawn on image files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw

from deepmad_jax.config import DetectConfig
from deepmad_jax.data.boxed import Boxed, canvas_of
from deepmad_jax.data.coco_index import Annotated
from deepmad_jax.data.decode import size_of
from deepmad_jax.tasks.colours import colour_of
from deepmad_jax.tasks.detect.functions import make_detect_fn
from deepmad_jax.tasks.detect.masks import FOREGROUND, paste
from deepmad_jax.tasks.named_images import looked_at
from deepmad_jax.tasks.task import split_network

MASK_SHARE = 0.45
"""How much of a masked pixel is the colour of its class."""


class Found(NamedTuple):
    """What was found on one image: n boxes by falling score, in its pixels, and n masks or None."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None


def make_finder(net: Any, detect: DetectConfig) -> Callable[[bytes], Found]:
    """Finds what is on an image file's bytes, as the evaluation does.

    Compiled for each kind of canvas once. Raises `CorruptImage` for what is no image.
    """
    graphdef, params, stats = split_network(net)
    step = jax.jit(make_detect_fn(graphdef))

    def find(data: bytes) -> Found:
        height, width = size_of(data)
        samples = Boxed(detect, canvas_of(detect, detect.eval_short_side, height > width))
        chunk = samples.empty(1)
        nothing = np.zeros((0, 4), np.float32)
        none = np.zeros(0, np.int32)
        annotated = Annotated(0, "", height, width, nothing, none, none > 0, none, ())
        samples.maker()(chunk, 0, {"image": data, "index": 0, "annotated": annotated}, None)
        found = jax.device_get(step(params, stats, chunk | {"mask": np.ones(1, np.float32)}))
        kept = found["valid"][0] & (found["scores"][0] >= detect.score)
        parts = (found[name][0][kept] for name in ("boxes", "scores", "labels"))
        masks = found["masks"][0][kept] if "masks" in found else None
        return Found(*parts, masks)

    return find


def draw_detections(
    net: Any, names: Sequence[str], detect: DetectConfig, folder: Path
) -> list[tuple[Path, Found]]:
    """Draws what ``net`` finds on ``detect.images``, each into a PNG of its name in ``folder``.

    Raises:
        MissingData: a file is not there.
        UserError: a file is no image.
    """
    find, drawn = make_finder(net, detect), []
    folder.mkdir(parents=True, exist_ok=True)
    for stem, pixels, found in looked_at(detect.images, "config.detect.images", find):
        out = folder / f"{stem}.png"
        draw(pixels, found, names).save(out)
        drawn.append((out, found))
    return drawn


def draw(pixels: np.ndarray, found: Found, names: Sequence[str]) -> Image.Image:
    """The image with boxes, names, scores and masks; the best ones on top."""
    colours = [colour_of(i, len(names)) for i in range(len(names))]
    canvas = pixels.astype(np.float32)
    order = range(len(found.scores) - 1, -1, -1)
    for i in order if found.masks is not None else ():
        assert found.masks is not None
        shares = paste(found.masks[i : i + 1], found.boxes[i : i + 1], pixels.shape[:2])[0]
        inside = shares >= FOREGROUND
        colour = np.array(colours[found.labels[i]], np.float32)
        canvas[inside] = (1 - MASK_SHARE) * canvas[inside] + MASK_SHARE * colour
    image = Image.fromarray(canvas.round().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    thick = max(1, round(min(pixels.shape[:2]) / 300))
    for i in order:
        colour, box = colours[found.labels[i]], found.boxes[i].tolist()
        pen.rectangle(box, outline=colour, width=thick)
        words = f"{names[found.labels[i]]} {found.scores[i]:.2f}"
        # Above the box, or inside where that would be off the image; never past its right edge.
        left = max(0.0, min(box[0], image.width - 1 - pen.textbbox((0, 0), words)[2]))
        place = (left, box[1] - 12 if box[1] >= 12 else box[1] + thick)
        pen.rectangle(pen.textbbox(place, words), fill=colour)
        pen.text(place, words, fill=(0, 0, 0))
    return image
