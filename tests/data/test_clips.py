import dataclasses
import itertools
import json

import cv2
import numpy as np
import pytest

from deepmad_jax.config import DataConfig, VideoConfig
from deepmad_jax.data.clips import eval_batches, frames_of, train_batches
from deepmad_jax.data.corrupt import CorruptData
from deepmad_jax.data.frames import judged_boxes, middle_frames
from deepmad_jax.data.motion import CLASSES, draw_motion, moving_shape, write_video
from deepmad_jax.data.video_file import read_frames
from deepmad_jax.data.videos import open_videos
from deepmad_jax.errors import InvalidConfig, UserError
from tests.data.video_set import numbers_in, write

VIDEO = VideoConfig(
    layout="folder", video_folder="{split}", short_side=48, crop=32, test_crop=48, test_segments=5
)


def folder_of(root, counts):
    """Grey videos of so many frames, by path."""
    for name, count in counts.items():
        write(root / name, count, "mpeg4")
    return DataConfig(data_dir=str(root), eval_split="val", corrupt_share=0.0)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    counts = {f"train/{'ab'[i % 2]}/{i}.mp4": 9 + i for i in range(7)}
    return folder_of(root, counts | {"val/a/x.mp4": 12, "val/b/short.mp4": 2, "val/b/y.mp4": 31})


def test_every_video_is_judged_by_the_middles_of_its_parts(config):
    data = open_videos(config, VIDEO)
    batches = list(eval_batches(data, config, VIDEO, batch_size=2))
    seen = {}
    for batch in batches:
        assert batch["clip"].shape == (2, 5, 3, 48, 48, 3)
        for slot in np.flatnonzero(batch["mask"]):
            assert int(batch["index"][slot]) not in seen
            clip = batch["clip"][slot]
            seen[int(batch["index"][slot])] = numbers_in([frame[1] for frame in clip])
            # The three views are the ends and the middle of the long side.
            whole = frames_of(data.evaluation.name_of(int(batch["index"][slot])), middle(2), VIDEO)
            boxes = judged_boxes(64, 48, "three", 48)
            for view, (left, top, right, bottom) in enumerate(boxes):
                np.testing.assert_array_equal(clip[2, view], whole[2][top:bottom, left:right])
    counts = {"a/x.mp4": 12, "b/short.mp4": 2, "b/y.mp4": 31}
    assert [data.evaluation.paths[i] for i in sorted(seen)] == list(counts)
    for i, count in enumerate(counts.values()):
        assert seen[i] == middle_frames(count, 5).tolist()


def middle(place):
    return lambda count: np.repeat(middle_frames(count, 5)[place], 3)


def test_a_clip_has_a_frame_of_each_part_cut_and_mirrored_alike(tmp_path):
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
    # Twelve equal frames: all that a clip's frames may differ by is how they are cut.
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        write_video(tmp_path / split / "a" / "x.mp4", np.repeat(picture[None], 12, 0))
    config = DataConfig(data_dir=str(tmp_path), eval_split="val", crop_scale_min=0.3)
    for how in ("random", "multiscale"):
        video = dataclasses.replace(VIDEO, train_crop=how)
        data = open_videos(config, video)
        clips = next(train_batches(data, config, video, batch_size=8, seed=0))["clip"]
        assert clips.shape == (8, 3, 32, 32, 3)
        for clip in clips:
            # What is left is the codec's own.
            assert abs(clip[1:].astype(int) - clip[0]).mean() < 4
        others = [abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(clips)]
        assert min(others) > 4


def test_training_sees_every_video_once_an_epoch_and_frames_in_order(config):
    data = open_videos(config, VIDEO)
    batches = train_batches(data, config, VIDEO, batch_size=7, seed=3)
    for _ in range(2):
        batch = next(batches)
        assert sorted(batch["label"]) == [0, 0, 0, 0, 1, 1, 1]
        for clip in batch["clip"]:
            numbers = numbers_in(list(clip))
            assert numbers == sorted(numbers)
            assert len(set(numbers)) == 3


def test_batches_are_a_function_of_seed_and_place(config):
    data = open_videos(config, VIDEO)

    def batch_of(place, batch_size=4, workers=0, **process):
        reading = dataclasses.replace(config, workers=workers)
        batches = train_batches(data, reading, VIDEO, batch_size=batch_size, seed=5, **process)
        batches.set_state({"next_batch": place, "corrupt": []})
        try:
            return next(batches)
        finally:
            batches.close()

    whole = batch_of(3)
    halves = [batch_of(3, process_index=i, process_count=2) for i in range(2)]
    for name, values in whole.items():
        for i in range(2):
            np.testing.assert_array_equal(values[i::2], halves[i][name])


@pytest.mark.slow
def test_workers_change_no_batch(config):
    data = open_videos(config, VIDEO)
    with_workers = dataclasses.replace(config, workers=2)
    ours = train_batches(data, config, VIDEO, batch_size=4, seed=5)
    other = train_batches(data, with_workers, VIDEO, batch_size=4, seed=5)
    for _ in range(4):
        a, b = next(ours), next(other)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    other.close()


def test_corrupt_and_short_videos_are_named_skipped_and_counted(tmp_path, capfd):
    counts = {f"train/a/{i}.mp4": 9 for i in range(5)} | {"val/a/x.mp4": 9}
    config = folder_of(tmp_path, counts | {"val/a/y.mp4": 2})
    broken = tmp_path / "train" / "a" / "3.mp4"
    broken.write_bytes(broken.read_bytes()[:300])
    video = dataclasses.replace(VIDEO, least_frames=4)
    data = open_videos(config, video)
    allowed = dataclasses.replace(config, corrupt_share=0.5)
    batches = train_batches(data, allowed, video, batch_size=5, seed=0)
    assert next(batches)["clip"].any(axis=(1, 2, 3, 4)).all()
    assert batches.get_state()["corrupt"] == [3]
    (batch,) = eval_batches(data, allowed, video, batch_size=2)
    np.testing.assert_array_equal(batch["mask"], [1, 0])
    said = capfd.readouterr().err
    assert f"skipped a corrupt video of {tmp_path.name}: {broken}" in said
    assert "y.mp4: it has 2 frames, and config.video.least_frames asks for 4" in said
    with pytest.raises(CorruptData, match=r"1 of the 5 videos of .* cannot be read"):
        next(train_batches(data, config, video, batch_size=5, seed=0))


def test_a_full_cache_gives_what_an_empty_one_gave_and_needs_no_decoder(config, tmp_path):
    video = dataclasses.replace(VIDEO, cache=str(tmp_path / "cache"))
    data = open_videos(config, video)
    path = data.train.name_of(6)
    choose = lambda count: np.array([count - 1, 0, 4, 4])  # noqa: E731
    first = frames_of(path, choose, video)
    assert numbers_in(first) == [14, 0, 4, 4] or numbers_in(first)[1:] == [0, 4, 4]
    (file,) = (tmp_path / "cache").iterdir()
    # JPEG of this quality, all colours kept.
    for ours, plain in zip(first, frames_of(path, choose, VIDEO), strict=True):
        assert abs(ours.astype(int) - plain).mean() < 2
    before = file.stat().st_mtime_ns
    for ours, again in zip(first, frames_of(path, choose, video), strict=True):
        np.testing.assert_array_equal(ours, again)
    assert file.stat().st_mtime_ns == before


def test_a_cache_file_cut_off_is_made_again_and_a_changed_video_too(tmp_path):
    video = dataclasses.replace(VIDEO, cache=str(tmp_path / "cache"))
    path = tmp_path / "x.mp4"
    write(path, 9, "mpeg4")
    last = lambda count: np.array([count - 1])  # noqa: E731
    (whole,) = frames_of(str(path), last, video)
    (file,) = (tmp_path / "cache").iterdir()
    data = file.read_bytes()
    for damaged in (data[:-5], data[:20], b"", b"x" * len(data)):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(frames_of(str(path), last, video)[0], whole)
        assert file.read_bytes() == data
    write(path, 12, "mpeg4")
    assert numbers_in(frames_of(str(path), last, video)) == [11]
    path.unlink()


def test_a_cache_that_cannot_be_written_is_told(config, tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    video = dataclasses.replace(VIDEO, cache=str(tmp_path / "cache"))
    path = open_videos(config, video).train.name_of(0)
    with pytest.raises(UserError, match=r"could not be written.*--config\.video\.cache"):
        frames_of(path, lambda count: np.array([0]), video)


def test_settings_that_do_not_fit_are_told():
    with pytest.raises(InvalidConfig, match="must not be above short_side=256"):
        VideoConfig(test_crop=288, test_crops="ten")
    with pytest.raises(InvalidConfig, match=r"three crops.*must be short_side=256"):
        VideoConfig(test_crop=224)
    with pytest.raises(InvalidConfig, match="crop_scales is empty"):
        VideoConfig(crop_scales=())


def test_drawn_videos_are_the_same_each_time_and_of_every_class(tmp_path):
    for name in ("one", "two"):
        draw_motion(tmp_path / name, {"train": 7})
    files = sorted((tmp_path / "one").rglob("*.mp4"))
    assert {path.parent.name for path in files} == set(CLASSES)
    for path in files:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_drawn_motions_are_what_their_names_say():
    """By the middle and the size of what has the shape's colour, not the ground's."""
    middles, sizes = {}, {}
    for motion in CLASSES:
        frames = moving_shape(np.random.default_rng(1), motion, (80, 80), 12).astype(float)
        there = frames.min(-1) > 125
        sizes[motion] = there.sum((1, 2))
        places = [np.argwhere(frame).mean(0) for frame in there if frame.any()]
        middles[motion] = np.median(np.diff(places, axis=0), axis=0)
    for motion, (down, right) in {
        "down": (1, 0), "up": (-1, 0), "right": (0, 1), "left": (0, -1), "grow": (0, 0),
        "shrink": (0, 0),
    }.items():  # fmt: skip
        np.testing.assert_allclose(np.sign(np.round(middles[motion])), (down, right))
    assert np.median(np.diff(sizes["grow"])) > 0 > np.median(np.diff(sizes["shrink"]))


def test_a_written_video_shows_the_frames(tmp_path):
    frames = moving_shape(np.random.default_rng(1), "right", (40, 60), 16)
    write_video(tmp_path / "x.mp4", frames)
    found = read_frames(str(tmp_path / "x.mp4"), lambda count: np.arange(count))
    assert len(found) == 16
    # H.264 keeps what is seen, in colours a quarter as fine.
    assert np.mean([abs(a.astype(int) - b).mean() for a, b in zip(found, frames, strict=True)]) < 8


def test_state_of_a_stream_is_plain(config):
    data = open_videos(config, VIDEO)
    batches = train_batches(data, config, VIDEO, batch_size=4, seed=0)
    next(batches)
    assert json.loads(json.dumps(batches.get_state())) == {"next_batch": 1, "corrupt": []}
