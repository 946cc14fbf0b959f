"""Batches of frames of videos: a few drawn ones to learn from, many in the middle to be judged by.

All frames of a clip are made as large as `config.video.short_side` says, and cut and mirrored
alike.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import cv2
import grain
import numpy as np

from deepmad_jax.config import DataConfig, VideoConfig
from deepmad_jax.data import stream
from deepmad_jax.data.chunks import Chunk, Maker
from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.data.frame_cache import cached_frames
from deepmad_jax.data.frames import drawn_frames, judged_boxes, middle_frames, multiscale_box
from deepmad_jax.data.images import random_box, resized_size
from deepmad_jax.data.iterator import Batches
from deepmad_jax.data.reading import reading_of
from deepmad_jax.data.video_file import Choose, all_frames, read_frames
from deepmad_jax.data.videos import VideoDataset


def train_batches(
    dataset: VideoDataset,
    config: DataConfig,
    video: VideoConfig,
    *,
    batch_size: int,
    seed: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> grain.DatasetIterator:
    """Endless batches of this process.

    Each has ``clip`` (b, segments, crop, crop, 3) uint8, ``label`` (b,) int32, and ``key`` as
    `stream.endless` has it.

    Args:
        dataset: what to read.
        config: ``flip``, ``crop_scale_min``, ``workers`` and ``corrupt_share``.
        video: frames and crops.
        batch_size: clips over all processes; b is this process's share.
        seed: of order and augmentation.
        process_index, process_count: this process among those that train; None asks JAX.
    """
    reading = reading_of(dataset.name, config, process_index, process_count, samples="videos")
    samples = Drawn(video, config.flip, config.crop_scale_min)
    return stream.endless(dataset.train, samples, reading, batch_size=batch_size, seed=seed)


def eval_batches(
    dataset: VideoDataset,
    config: DataConfig,
    video: VideoConfig,
    *,
    batch_size: int,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Batches:
    """Batches that hold every video with ``mask`` 1 exactly once; see `stream.once`.

    Each has ``clip`` (b, test_segments, boxes, side, side, 3) uint8, the parts of each frame that
    `judged_boxes` names, ``label`` and ``index`` (b,) int32, the video's place in its split.
    """
    reading = reading_of(dataset.name, config, process_index, process_count, samples="videos")
    return stream.once(dataset.evaluation, Judged(video), reading, batch_size=batch_size)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """`stream.Samples` for training.

    Attributes:
        video: frames and crops.
        flip: probability of mirroring.
        crop_scale_min: least share of the area of a ``random`` crop.
    """

    video: VideoConfig
    flip: float
    crop_scale_min: float

    def empty(self, length: int) -> Chunk:
        shape = (length, self.video.segments, self.video.crop, self.video.crop, 3)
        return {"clip": np.zeros(shape, np.uint8), "label": np.zeros(length, np.int32)}

    def maker(self) -> Maker:
        video = self.video
        size = (video.crop, video.crop)

        def make(chunk: Chunk, slot: int, element: Any, rng: np.random.Generator | None) -> None:
            def choose(count: int) -> np.ndarray:
                if rng is None:
                    return middle_frames(count, video.test_segments)
                return drawn_frames(rng, count, video.segments)

            frames = frames_of(element["video"], choose, video)
            if rng is None:  # it was only to be seen whether the video can be read
                return
            height, width = frames[0].shape[:2]
            if video.train_crop == "multiscale":
                box = multiscale_box(rng, width, height, video.crop_scales)
            else:
                box = random_box(rng, width, height, self.crop_scale_min)
            left, top, right, bottom = box
            mirrored = rng.random() < self.flip
            for place, frame in enumerate(frames):
                part = frame[top:bottom, left:right]
                part = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
                chunk["clip"][slot, place] = part[:, ::-1] if mirrored else part
            chunk["label"][slot] = element["label"]

        return make


@dataclasses.dataclass(frozen=True)
class Judged:
    """`stream.Samples` for the evaluation."""

    video: VideoConfig

    def empty(self, length: int) -> Chunk:
        side = self.video.test_crop
        boxes = len(judged_boxes(side, side, self.video.test_crops, side))
        shape = (length, self.video.test_segments, boxes, side, side, 3)
        return {
            "clip": np.zeros(shape, np.uint8),
            "label": np.zeros(length, np.int32),
            "index": np.zeros(length, np.int32),
        }

    def maker(self) -> Maker:
        video = self.video

        def make(chunk: Chunk, slot: int, element: Any, rng: np.random.Generator | None) -> None:
            frames = frames_of(
                element["video"], lambda count: middle_frames(count, video.test_segments), video
            )
            height, width = frames[0].shape[:2]
            boxes = judged_boxes(width, height, video.test_crops, video.test_crop)
            for place, frame in enumerate(frames):
                for view, (left, top, right, bottom) in enumerate(boxes):
                    chunk["clip"][slot, place, view] = frame[top:bottom, left:right]
            chunk["label"][slot] = element["label"]
            chunk["index"][slot] = element["index"]

        return make


def frames_of(path: str, choose: Choose, video: VideoConfig) -> list[np.ndarray]:
    """The frames of a video that ``choose`` names, of one size, uint8 (height, width, 3).

    Args:
        path: of the file.
        choose: from the number of its frames to those wanted.
        video: ``short_side``, ``least_frames`` and ``cache``.
    Raises:
        CorruptImage: it cannot be read, or has too few frames.
    """

    def checked(count: int) -> np.ndarray:
        if count < video.least_frames:
            raise CorruptImage(
                f"it has {count:,} frames, and config.video.least_frames asks for "
                f"{video.least_frames:,}"
            )
        return choose(count)

    if video.cache is None:
        return _of_one_size(read_frames(path, checked), video.short_side)
    return cached_frames(
        Path(video.cache).expanduser(),
        Path(path),
        f"short side {video.short_side}",
        checked,
        lambda: _of_one_size(list(all_frames(path)), video.short_side),
    )


def _of_one_size(frames: list[np.ndarray], short_side: int) -> list[np.ndarray]:
    """Resized to that short side; all as the first one is, should a video change its size."""
    if not frames:
        return frames
    height, width = resized_size(*frames[0].shape[:2], short_side, math.inf)
    return [
        frame
        if frame.shape[:2] == (height, width)
        else cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        for frame in frames
    ]
