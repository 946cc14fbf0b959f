"""Frames of a video file by number, decoded by PyAV (FFmpeg).

The packets of the file say when each of its frames is shown and from which keyframe it can be
decoded; frame i is the i-th by that time. So a few frames cost a seek and a part of a group each,
not the whole file, and frames on the way that no other is made from are passed over. Where packets
do not say (some AVI files), all frames are decoded, and counted as they come.

Measured beside OpenCV and decord by benchmarks/video_decode.py: all three give the same pixels, and
the choice is told there.
"""

import bisect
import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.errors import UserError

LEAST_SHARE = 0.9
"""Of the frames that a file's header promises, by which it counts as whole; headers of AVI files
may be off by a few."""

Choose = Callable[[int], np.ndarray]
"""From a video's number of frames to the numbers of those wanted."""


def read_frames(path: str, choose: Choose) -> list[np.ndarray]:
    """The frames that ``choose`` names, upright RGB, uint8 (height, width, 3), in its order.

    Args:
        path: of the file.
        choose: may be called twice.
    Raises:
        CorruptImage: no video, or a damaged one.
        UserError: PyAV is not installed.
    """
    with _opened(path) as (container, stream):
        index = _Index.of(container, stream)
        if index is not None:
            wanted = choose(len(index.times))
            found = _by_seeking(container, stream, index, wanted)
            if found is not None:
                return found
    return _one_after_the_other(path, choose)


def all_frames(path: str) -> Iterator[np.ndarray]:
    """Every frame in turn, as `read_frames` gives them."""
    with _opened(path) as (container, stream):
        yield from map(_pixels, container.decode(stream))


def video_library() -> Any:
    """PyAV; raises `UserError` where it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise UserError(
            "Videos are decoded by PyAV, which is not installed: pip install 'deepmad_jax[video]', "
            "or -e '.[video]' in a checkout."
        ) from error


class _Index:
    """When the frames of a file are shown, ascending, and when those are that need no other."""

    def __init__(self, times: list[int], keys: list[int]):
        self.times, self.keys = times, keys

    @classmethod
    def of(cls, container: Any, stream: Any) -> "_Index | None":
        """None where the packets do not say it of each frame.

        Raises:
            CorruptImage: the file has far fewer frames than it says.
        """
        times, keys, packets = [], [], 0
        for packet in container.demux(stream):
            if not packet.size:  # the one at the end
                continue
            packets += 1
            if packet.is_discard:  # before the file's own beginning
                continue
            if packet.pts is None:
                return None
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
        if packets < LEAST_SHARE * stream.frames:
            raise CorruptImage(f"it is cut off: {packets:,} of its {stream.frames:,} frames")
        if not times or not keys or len(set(times)) < len(times):
            return None
        return cls(sorted(times), sorted(keys))


def _by_seeking(
    container: Any, stream: Any, index: _Index, wanted: np.ndarray
) -> list[np.ndarray] | None:
    """The frames, or None where one does not come out of the decoder at its time."""
    found: dict[int, np.ndarray] = {}
    numbers = sorted({int(number) for number in wanted})
    times = {index.times[number] for number in numbers}
    frames: Any = None
    last = 0
    for number in numbers:
        time = index.times[number]
        key = index.keys[max(bisect.bisect_right(index.keys, time) - 1, 0)]
        if frames is None or key > last:
            container.seek(key, stream=stream)
            frames = _decoded(container, stream, times)
        for frame in frames:
            if frame.pts is None or frame.pts >= time:
                break
        else:
            return None
        if frame.pts != time:
            return None
        last, found[number] = time, _pixels(frame)
    return [found[int(number)] for number in wanted]


def _decoded(container: Any, stream: Any, times: set[int]) -> Iterator[Any]:
    """The frames from here on; of those that no other needs, the ones shown at ``times`` alone."""
    for packet in container.demux(stream):
        wanted = packet.pts is None or packet.pts in times
        stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"
        yield from packet.decode()


def _one_after_the_other(path: str, choose: Choose) -> list[np.ndarray]:
    """Decodes the file twice: to count its frames, and to keep those wanted."""
    with _opened(path) as (container, stream):
        count = sum(1 for _ in container.decode(stream))
    if not count:
        raise CorruptImage("it has no frame that can be decoded")
    wanted = choose(count)
    left = {int(number) for number in wanted}
    found = {}
    with _opened(path) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if number in left:
                found[number] = _pixels(frame)
                left.remove(number)
            if not left:
                break
    return [found[int(number)] for number in wanted]


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[Any, Any]]:
    av = video_library()
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise CorruptImage("it holds no pictures")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise CorruptImage("its pictures are of no known kind")
            # Videos are decoded side by side, by the threads or processes that make batches.
            stream.codec_context.thread_count = 1
            yield container, stream
    except (CorruptImage, UserError):
        raise
    # What PyAV raises on damaged files is wider than its own errors: UnicodeDecodeError, ....
    except Exception as error:
        raise CorruptImage(f"{type(error).__name__}: {error}") from error


def _pixels(frame: Any) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
