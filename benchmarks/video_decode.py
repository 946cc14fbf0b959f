"""Decoding for TSN beside its peers: clips a CPU second by PyAV as we use it, decord and OpenCV.

Writes videos as data sets have them (textures that pan and shake under grain, so that they weigh
what camera pictures do) and takes from each what TSN wants: 3 drawn frames for training, 25 middle
ones for a test, RGB, resized to a short side of 256.

- ours: `clips.frames_of`, which is PyAV: packets are indexed, a keyframe is sought, frames decoded
- ours_cached: the same from a full cache of frames (``config.video.cache``)
- decord: `VideoReader(path, num_threads=1).get_batch`, which is what mmaction2's DecordDecode uses
- opencv: `VideoCapture`, decoded from the start up to the last frame wanted; only those wanted are
  converted. Its own seek is left out: it gives other frames than asked for in files with B-frames

All are checked to give the same pixels (the cache: within JPEG's loss). torchcodec 0.17 installs
but loads neither without PyTorch nor without shared libraries of FFmpeg, so it is not here.

Every run is one thread in a process of its own; rounds take turns, so that other load on the
machine falls on all alike. Read the ratios of medians.

    python -m benchmarks.video_decode --out benchmarks/results/video_decode.json

decord is not in our environment: pip install decord, or it is left out.

On two busy cores (load 8, 2026-11-30; --rounds 3 --seconds 1.2 --videos 3), medians, ours over
decord and over OpenCV; rounds scatter by up to a third:

    as UCF101      3 frames  2.22  4.92     25 frames  1.44  1.06
    as Kinetics    3 frames  1.59  1.98     25 frames  1.63  1.51
    every 32       3 frames  1.45  5.01     25 frames  1.44  1.54

From the cache of frames it is 2 to 31 times as fast as decoding.
"""

import argparse
import functools
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.record import write_result
from deepmad_jax.config import VideoConfig
from deepmad_jax.data.clips import frames_of
from deepmad_jax.data.frames import drawn_frames, middle_frames
from deepmad_jax.data.images import resized_size
from deepmad_jax.data.video_file import video_library

SHORT_PX, CLIP, TEST = 256, 3, 25
CHECKED = 2
"""Videos of each kind."""

# Codec, file name's ending, height, width, frames, frames a second, between keyframes, B-frames.
KINDS = {
    "as UCF101: MPEG-4, 320x240, 186 frames": ("mpeg4", ".avi", 240, 320, 186, 25, 12, 0),
    "as Kinetics: H.264, 454x256, 300 frames": ("libx264", ".mp4", 256, 454, 300, 30, 250, 3),
    "H.264, 454x256, a keyframe every 32": ("libx264", ".mp4", 256, 454, 300, 30, 32, 3),
}
READERS = ("ours", "ours_cached", "decord", "opencv")


def main() -> None:
    args = _arguments()
    if args.run:
        print(json.dumps(_measure(args.run, Path(args.folder), args.seconds)))
        return
    known = [name for name in READERS if name != "decord" or importlib.util.find_spec("decord")]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as made:
        root, sizes = Path(made), []
        for folder, settings in zip(_folders(root), KINDS.values(), strict=True):
            folder.mkdir()
            for seed in range(args.videos):
                _write(folder / f"{seed}{settings[1]}", seed, settings)
            _check(sorted(folder.iterdir()), known)
            sizes.append(
                {
                    "kb_each": round(_kb(folder) / args.videos),
                    "cache_kb_each": round(_kb(folder / "cache") / args.videos),
                }
            )
        rounds = []
        for _ in range(args.rounds):
            rounds.append({name: _start(name, root, args.seconds) for name in known})
            print(rounds[-1], flush=True)
    rows = [
        {"videos": kind, **sizes[i], "frames": frames, "reader": name}
        | {
            "clips_per_cpu_second": round(statistics.median(r[name][i][j] for r in rounds), 2),
            "of_each_round": [round(r[name][i][j], 2) for r in rounds],
        }
        for i, kind in enumerate(KINDS)
        for j, frames in enumerate((CLIP, TEST))
        for name in known
    ]
    print(json.dumps(rows, indent=1))
    if args.out:
        versions = {"av": video_library().__version__, "opencv": cv2.__version__}
        if "decord" in known:
            versions["decord"] = importlib.import_module("decord").__version__
        write_result(Path(args.out), load, versions=versions, rows=rows)


def _folders(root: Path) -> list[Path]:
    return [root / str(place) for place in range(len(KINDS))]


def _start(name: str, root: Path, seconds: float) -> list[list[float]]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.video_decode", "--run", name),
            *("--folder", str(root), "--seconds", str(seconds)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _measure(name: str, root: Path, seconds: float) -> list[list[float]]:
    """Clips a CPU second of this process, all its threads together, by kind and frames."""
    return [[_rate(name, folder, n, seconds) for n in (CLIP, TEST)] for folder in _folders(root)]


def _rate(name: str, folder: Path, frames: int, seconds: float) -> float:
    read = _reader(name, folder)
    paths = [str(p) for p in sorted(folder.iterdir()) if p.suffix in (".avi", ".mp4")]
    rng = np.random.default_rng(0)
    read(paths[0], functools.partial(_wanted, rng, frames))  # what is loaded when first used
    clips, begun = 0, time.process_time()
    while time.process_time() - begun < seconds:
        read(paths[clips % len(paths)], functools.partial(_wanted, rng, frames))
        clips += 1
    return clips / (time.process_time() - begun)


def _wanted(rng: np.random.Generator, frames: int, count: int) -> np.ndarray:
    return middle_frames(count, TEST) if frames == TEST else drawn_frames(rng, count, CLIP)


def _reader(name: str, folder: Path) -> Callable[[str, Callable[[int], np.ndarray]], Any]:
    cv2.setNumThreads(1)
    if name == "decord":
        return _by_decord
    if name == "opencv":
        return _by_opencv
    video = VideoConfig(short_side=SHORT_PX)
    if name == "ours_cached":
        video = VideoConfig(short_side=SHORT_PX, cache=str(folder / "cache"))
        for path in folder.iterdir():
            if path.is_file():
                frames_of(str(path), lambda count: np.array([0]), video)
    return lambda path, choose: frames_of(path, choose, video)


def _by_decord(path: str, choose: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    return [_resized(frame) for frame in reader.get_batch(choose(len(reader))).asnumpy()]


def _by_opencv(path: str, choose: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    capture = cv2.VideoCapture(path)
    capture.set(cv2.CAP_PROP_N_THREADS, 1)
    wanted = choose(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    found = {}
    for number in range(int(wanted.max()) + 1):
        assert capture.grab()
        if number in wanted:
            found[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    return [_resized(found[int(number)]) for number in wanted]


def _resized(frame: np.ndarray) -> np.ndarray:
    size = resized_size(*frame.shape[:2], SHORT_PX, math.inf)
    if frame.shape[:2] == size:
        return frame
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)


def _check(paths: list[Path], known: list[str]) -> None:
    """That all of them read the same pixels."""
    for path in paths[:CHECKED]:
        found = {
            name: _reader(name, path.parent)(str(path), lambda count: middle_frames(count, TEST))
            for name in known
        }
        for name, frames in found.items():
            for frame, ours in zip(frames, found["ours"], strict=True):
                difference = np.abs(frame.astype(int) - ours)
                allowed = 3 if name == "ours_cached" else 0
                assert difference.mean() <= allowed, name


def _kb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e3


def _write(path: Path, seed: int, settings: tuple[Any, ...]) -> None:
    codec, _, height, width, frames, rate, gop, between = settings
    av, rng = video_library(), np.random.default_rng(seed)
    coarse = [rng.integers(0, 256, (n, n, 3), np.uint8) for n in (6, 24, 96)]
    scene = sum(
        share * cv2.resize(noise, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC)
        for share, noise in zip((0.6, 0.25, 0.15), coarse, strict=True)
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = between
        stream.bit_rate = 800_000 if codec == "mpeg4" else 600_000
        for number in range(frames):
            x = int(width / 2 * (1 + math.sin(number / 40))) + int(rng.integers(3))
            y = int(height / 2 * (1 + math.cos(number / 55))) + int(rng.integers(3))
            part = scene[y : y + height, x : x + width]
            part = cv2.resize(part, (width, height)) + rng.normal(0, 4, (height, width, 1))
            pixels = np.clip(part, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=6, help="of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of CPU, a measurement")
    parser.add_argument("--out", help="a JSON file")
    parser.add_argument("--run", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
