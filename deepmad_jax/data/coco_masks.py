"""An object's pixels from polygons or run-length codes, in the image or in a square of its own.

Rasterised by pycocotools, whose rules COCO's areas and scores are made by.
"""

import json
from typing import Any

import cv2
import numpy as np

from deepmad_jax.errors import UserError


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The pixels of an object, uint8 0 or 1, shape (height, width), as pycocotools has them.

    Args:
        segmentation: polygons, or a run-length code, compressed or not.
        height, width: of the image.
    Raises:
        ValueError: a run-length code that does not fill the image: pycocotools would leave the rest
            of it as the memory was.
    """
    codes = coco_masks()
    if isinstance(segmentation, list):
        polygons = [_decimals(polygon) for polygon in segmentation]
        code = codes.merge(codes.frPyObjects(polygons, height, width))
    else:
        counts = segmentation["counts"]
        runs = counts if isinstance(counts, list) else _runs(counts)
        if list(segmentation["size"]) != [height, width] or sum(runs) != height * width:
            raise ValueError(f"a run-length code that does not fill {height}x{width} pixels")
        code = segmentation
        if isinstance(counts, list):
            code = codes.frPyObjects(segmentation, height, width)
    return codes.decode(code)


def mask_in_box(
    text: bytes, box: np.ndarray, height: int, width: int, side: int, mirrored: bool = False
) -> np.ndarray:
    """The part of an object inside its box, uint8 0 or 1, shape (side, side).

    Polygons are scaled before they are rasterised; run-length codes are averaged after.

    Args:
        text: JSON of the segmentation; ``null`` fills the box.
        box: (x1, y1, x2, y2), pixels of the image.
        height, width: of the image.
        side: of the result.
        mirrored: left and right change places.
    """
    segmentation = json.loads(text)
    corner, sides = box[:2], np.maximum(box[2:] - box[:2], 1e-6)
    if not segmentation:
        mask = np.ones((side, side), np.uint8)
    elif isinstance(segmentation, list):
        polygons = [
            ((np.asarray(part, np.float64).reshape(-1, 2) - corner) / sides * side).ravel().tolist()
            for part in segmentation
            if len(part) >= 6
        ]
        mask = mask_of(polygons, side, side) if polygons else np.zeros((side, side), np.uint8)
    else:
        whole = mask_of(segmentation, height, width).astype(np.float32)
        # Pixel k of the square covers k / side to (k + 1) / side of the box.
        matrix = np.array(
            [[sides[0] / side, 0, corner[0]], [0, sides[1] / side, corner[1]]], np.float64
        )
        matrix[:, 2] += np.diag(matrix[:, :2]) / 2 - 0.5
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        mask = (cv2.warpAffine(whole, matrix, (side, side), flags=flags) >= 0.5).astype(np.uint8)
    return mask[:, ::-1] if mirrored else mask


def _runs(counts: str | bytes) -> list[int]:
    """The runs of a compressed code: five bits a character, each run less the one before last."""
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (bits & 0x10) << (shift - 4)  # its sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _decimals(polygon: Any) -> list[float]:
    """Coordinates as Python numbers; those of a float32 array as it prints them.

    4.7 in float32 lies a little below 4.7, which moves an edge that runs along a pixel's by one.
    """
    if isinstance(polygon, np.ndarray):
        return [float(str(value)) for value in polygon.ravel()]
    return list(polygon)


def coco_masks() -> Any:
    """pycocotools' masks; raises `UserError` where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise UserError(
            "Detection needs the package pycocotools: pip install 'deepmad_jax[detect]'."
        ) from error
    return mask
