import struct
import sys

import cv2
import numpy as np
import pytest

from deepmad_jax.data.decode import CorruptImage
from deepmad_jax.data.video_file import all_frames, read_frames
from deepmad_jax.errors import UserError
from tests.data.video_set import SIZE, numbers_in, write

KINDS = {
    "h264.mp4": {"codec": "libx264", "between": 2},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "xvid.avi": {"codec": "mpeg4"},
    "xvid_b.avi": {"codec": "mpeg4", "between": 2},
    "h264.mkv": {"codec": "libx264", "between": 2},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "one_key.mp4": {"codec": "libx264", "gop": 1000},
}
COUNT = 31


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name, settings in KINDS.items():
        write(folder / name, COUNT, **settings)
    return folder


def by_opencv(path):
    """All frames, one after the other."""
    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = video.read()
        if not there:
            return frames
        frames.append(frame[..., ::-1])


@pytest.mark.parametrize("name", KINDS)
def test_frames_by_number_are_those_that_opencv_decodes_in_turn(files, name):
    wanted = by_opencv(files / name)
    assert len(wanted) == COUNT
    assert numbers_in(wanted) == list(range(COUNT))
    numbers = np.array([29, 3, 3, 0, 17, 30])
    counts = []

    def choose(count):
        counts.append(count)
        return numbers

    found = read_frames(str(files / name), choose)
    assert set(counts) == {COUNT}
    for frame, number in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(frame, wanted[number])
    for frame, other in zip(all_frames(str(files / name)), wanted, strict=True):
        np.testing.assert_array_equal(frame, other)


@pytest.mark.parametrize("name", KINDS)
def test_one_frame_does_not_cost_the_whole_file(files, name, monkeypatch):
    # What is decoded for the last frame of a file is from its last keyframe on.
    from deepmad_jax.data import video_file

    decoded, real = [], video_file._decoded

    def counted(*args):
        for frame in real(*args):
            decoded.append(frame)
            yield frame

    def refuse(*args):
        raise AssertionError("all frames are decoded, one after the other")

    monkeypatch.setattr(video_file, "_decoded", counted)
    monkeypatch.setattr(video_file, "_one_after_the_other", refuse)
    assert numbers_in(read_frames(str(files / name), lambda count: np.array([count - 1]))) == [30]
    assert 1 <= len(decoded) <= (COUNT if name == "one_key.mp4" else 8)
    several = np.array([2, 3, 16, 30])
    assert numbers_in(read_frames(str(files / name), lambda count: several)) == [2, 3, 16, 30]


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_a_video_turned_by_its_header_is_upright(files, tmp_path, clockwise):
    # As telephones write it: the matrix that a player turns the picture by.
    turns = {
        0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0),
    }[clockwise]  # fmt: skip
    data = bytearray((files / "mpeg4.mp4").read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (65536 * x for x in turns)
    old = struct.unpack(">9i", data[start : start + 36])
    assert old == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    (found,) = read_frames(str(tmp_path / "turned.mp4"), lambda count: np.array([4]))
    (straight,) = read_frames(str(files / "mpeg4.mp4"), lambda count: np.array([4]))
    np.testing.assert_array_equal(found, np.rot90(straight, -clockwise // 90))
    np.testing.assert_array_equal(found, by_opencv(tmp_path / "turned.mp4")[4])


@pytest.mark.parametrize("name", ["h264.mp4", "xvid_b.avi", "h264.mkv"])
def test_damage_anywhere_is_a_corrupt_video_or_a_readable_one(files, tmp_path, name):
    rng = np.random.default_rng(0)
    data, path, corrupt = (files / name).read_bytes(), tmp_path / name, 0
    for damage in range(40):
        bytes_ = bytearray(data)
        for _ in range(1 if damage % 2 else 60):
            bytes_[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(bytes_)
        try:
            frames = read_frames(str(path), lambda count: np.array([0, count // 2, count - 1]))
            assert len(frames) == 3
        except CorruptImage:
            corrupt += 1
    assert 0 < corrupt < 40


@pytest.mark.parametrize("name", ["h264.mp4", "xvid.avi"])
def test_a_file_cut_off_is_corrupt(files, tmp_path, name):
    data = (files / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptImage):
        read_frames(str(tmp_path / name), lambda count: np.array([0]))


def test_what_is_no_video_is_told(tmp_path):
    for name, data in (("empty.mp4", b""), ("text.mp4", b"no video" * 100)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorruptImage):
            read_frames(str(tmp_path / name), lambda count: np.array([0]))
    with pytest.raises(CorruptImage, match="gone"):
        read_frames(str(tmp_path / "gone.mp4"), lambda count: np.array([0]))


def test_a_sound_without_pictures_is_told(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(CorruptImage, match="no pictures"):
        read_frames(str(tmp_path / "sound.mp4"), lambda count: np.array([0]))


def test_without_the_library_the_extra_is_named(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"deepmad_jax\[video\]"):
        read_frames(str(files / "h264.mp4"), lambda count: np.array([0]))


def test_frames_are_as_large_as_the_video(files):
    (frame,) = read_frames(str(files / "vp9.webm"), lambda count: np.array([0]))
    assert (frame.shape, frame.dtype) == ((*SIZE, 3), np.uint8)


def test_packets_that_do_not_say_when_they_are_shown_are_counted_by_decoding(files, monkeypatch):
    from deepmad_jax.data import video_file

    monkeypatch.setattr(video_file._Index, "of", lambda *args: None)
    wanted = by_opencv(files / "xvid_b.avi")
    for frame, number in zip(
        read_frames(str(files / "xvid_b.avi"), lambda count: np.array([count - 1, 2, 2])),
        (30, 2, 2),
        strict=True,
    ):
        np.testing.assert_array_equal(frame, wanted[number])
