"""Which frames of a video are looked at, and which parts of them, as TSN does it.

Training: of n frames, k parts of L = n // k each give one, drawn; where L is 0, frame
``round(i n / k) mod n`` stands for part i. Testing: the middle of each k-th part. Frames count
from 0. Boxes are left, top, right, bottom in whole pixels.

Source: mmaction2's SampleFrames, MultiScaleCrop, ThreeCrop and TenCrop.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[int, int, int, int]

SCALE_GAP = 1
"""Places in the list of sides by which width and height of a multiscale crop may differ."""


def drawn_frames(rng: np.random.Generator, frames: int, segments: int) -> np.ndarray:
    """One frame of each part, int64 (segments,).

    Args:
        rng: draws them.
        frames: that the video has, n, at least 1.
        segments: how many parts, k.
    """
    length = frames // segments
    if length:
        return np.arange(segments) * length + rng.integers(length, size=segments)
    return np.round(np.arange(segments) * (frames / segments)).astype(np.int64) % frames


def middle_frames(frames: int, segments: int) -> np.ndarray:
    """The middle of each part, int64 (segments,); arguments as above.

    >>> middle_frames(100, 3).tolist(), middle_frames(1, 3).tolist()
    ([16, 50, 83], [0, 0, 0])
    """
    return np.floor((np.arange(segments) + 0.5) * (frames / segments)).astype(np.int64)


def five_boxes(width: int, height: int, crop: tuple[int, int]) -> list[Box]:
    """Upper left, upper right, lower left, lower right and centre; ``crop`` is (width, height).

    Places are multiples of a quarter of what is free, rounded down, as the source has them.
    """
    x, y = (width - crop[0]) // 4, (height - crop[1]) // 4
    places = [(0, 0), (4 * x, 0), (0, 4 * y), (4 * x, 4 * y), (2 * x, 2 * y)]
    return [(left, top, left + crop[0], top + crop[1]) for left, top in places]


def three_boxes(width: int, height: int, side: int) -> list[Box]:
    """Both ends and the middle of the long side of a frame whose short side is ``side``."""
    x, y = (width - side) // 2, (height - side) // 2
    places = [(0, 0), (2 * x, 2 * y), (x, y)]
    return [(left, top, left + side, top + side) for left, top in places]


def middle_box(width: int, height: int, side: int) -> Box:
    """The square in the middle.

    >>> middle_box(340, 256, 224)
    (58, 16, 282, 240)
    """
    left, top = (width - side) // 2, (height - side) // 2
    return (left, top, left + side, top + side)


def multiscale_box(
    rng: np.random.Generator, width: int, height: int, scales: Sequence[float]
) -> Box:
    """A part at one of five places whose sides are shares of the short side.

    Args:
        rng: draws sides and place.
        width, height: of the frame.
        scales: the shares; those of width and height are at most `SCALE_GAP` apart in the list.
    """
    sides = [int(scale * min(width, height)) for scale in scales]
    pairs = [
        (across, down)
        for i, down in enumerate(sides)
        for j, across in enumerate(sides)
        if abs(i - j) <= SCALE_GAP
    ]
    crop = pairs[rng.integers(len(pairs))]
    return five_boxes(width, height, crop)[rng.integers(5)]


def judged_boxes(width: int, height: int, crops: str, side: int) -> list[Box]:
    """What is looked at of a test frame, less the mirror images that belong to ``ten``.

    Args:
        width, height: of the frame.
        crops: as ``config.video.test_crops``.
        side: of each.
    """
    if crops == "ten":
        return five_boxes(width, height, (side, side))
    if crops == "three":
        return three_boxes(width, height, side)
    return [middle_box(width, height, side)]
