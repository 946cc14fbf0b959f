"""Small video files of a shape that moves, whose class is how it moves.

TSN averages over frames, so it cannot see their order: what tells one motion from another must be
in single frames. Here it is an afterglow, as old screens have it: where the shape was a moment ago
it is still seen, fainter. Kinds of shape, colours, speeds and grounds say nothing of the class.
Drawn without it (a ``trail`` of 1), a class is told by the order of frames alone, which a network
of clips sees.

The codec is MPEG-4's first, as of UCF101's files: FFmpeg's gives the same bytes each time, where
x264 was seen to give several.
"""

from pathlib import Path

import cv2
import numpy as np

from deepmad_jax.data.video_file import video_library

CLASSES = ("down", "grow", "left", "right", "shrink", "up")
"""Sorted, as folders are listed."""

FRAMES = (24, 48)
"""From and up to, without the end."""

SIZES = ((80, 96), (96, 80), (80, 80))
"""Heights and widths, in turn."""

FRAMES_PER_SECOND = 12
CODEC, QUANTISER, KEYFRAME_EVERY = "mpeg4", "3", 12

TRAIL, FADING = 10, 0.8
"""Steps whose afterglow is seen, and what each leaves of the one after it."""

STEP_PX = (2.0, 3.5)
"""How far the shape moves from frame to frame, at least and at most."""

RADIUS_PX = (7.0, 12.0)
LARGEST_PX = 30.0
GROUND, COLOUR, NOISE = (20.0, 100.0), (130.0, 255.0), 6.0
"""Values of 0 to 255: of the ground, which is grey, of the shape's three, and how they scatter."""


def draw_motion(root: Path, videos: dict[str, int], seed: int = 0, trail: int = TRAIL) -> None:
    """Writes ``SPLIT/CLASS/000001.mp4``, ... below ``root``, as many of each class.

    Args:
        root: made where it is not there.
        videos: how many in all, by split.
        seed: of everything that is drawn.
        trail: steps whose afterglow is seen, the shape itself among them.
    """
    for place, (split, count) in enumerate(videos.items()):
        rng = np.random.Generator(np.random.Philox((seed, place)))
        for number in range(count):
            motion = CLASSES[number % len(CLASSES)]
            folder = root / split / motion
            folder.mkdir(parents=True, exist_ok=True)
            size = SIZES[number // len(CLASSES) % len(SIZES)]
            frames = moving_shape(rng, motion, size, int(rng.integers(*FRAMES)), trail)
            write_video(folder / f"{number:06}.mp4", frames)


def moving_shape(
    rng: np.random.Generator, motion: str, size: tuple[int, int], count: int, trail: int = TRAIL
) -> np.ndarray:
    """The frames, RGB uint8 (count, height, width, 3), of one of `CLASSES`."""
    height, width = size
    ground, colour = rng.uniform(*GROUND), rng.uniform(*COLOUR, 3)
    corners = _corners(rng)
    radius, step = rng.uniform(*RADIUS_PX), rng.uniform(*STEP_PX)
    start = rng.uniform((0, 0), (width, height))
    texture = (ground + rng.normal(0, NOISE, (height, width, 3))).astype(np.float32)
    frames = np.empty((count, height, width, 3), np.uint8)
    for number in range(count):
        left = np.ones((height, width), np.float32)  # what is seen of the ground
        laps = set()
        for age in range(trail):
            place, scale, lap = _pose(motion, start, radius, step * (number - age), size)
            laps.add(lap)
            if len(laps) > 1:  # a small shape inside the glow of a large one would seem to shrink
                break
            shape = np.zeros((height, width), np.uint8)
            cv2.fillPoly(shape, [np.round(place + scale * corners).astype(np.int32)], 1)
            left *= 1 - FADING**age * shape.astype(np.float32)
        mixed = left[..., None] * texture + (1 - left[..., None]) * colour.astype(np.float32)
        frames[number] = np.clip(mixed, 0, 255).astype(np.uint8)
    return frames


def write_video(path: Path, frames: np.ndarray) -> None:
    """Writes frames, RGB uint8 (count, height, width, 3) of even sides."""
    av = video_library()
    with av.open(str(path), "w") as container:
        options = {"qmin": QUANTISER, "qmax": QUANTISER}
        stream = container.add_stream(CODEC, FRAMES_PER_SECOND, options=options)
        # Else the bytes depend on the number of cores, and on which is done first.
        stream.codec_context.thread_count = 1
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = KEYFRAME_EVERY
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _corners(rng: np.random.Generator) -> np.ndarray:
    """Of a triangle, a square or a disc of radius 1, turned."""
    count = int(rng.choice((3, 4, 24)))
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def _pose(
    motion: str, start: np.ndarray, radius: float, way: float, size: tuple[int, int]
) -> tuple[np.ndarray, float, int]:
    """Place and radius of the shape after ``way`` pixels, and how often it has begun anew.

    What leaves the frame comes in again.
    """
    room = np.array([size[1], size[0]])
    if motion in ("grow", "shrink"):
        # In the middle half.
        lap, part = divmod(start.sum() + way, LARGEST_PX)
        return room / 4 + start / 2, part if motion == "grow" else LARGEST_PX - part, int(lap)
    direction = np.array({"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[motion])
    place = (start + way * direction) % (room + 2 * radius) - radius
    return np.where(direction != 0, place, np.clip(start, radius, room - radius)), radius, 0
