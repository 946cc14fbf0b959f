"""Networks of clips in the video task: order is seen, clips span a video, exports run."""

import dataclasses
import pathlib

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_video_job import CONFIG

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import TrainConfig
from deepmad_jax.data.motion import draw_motion
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.tasks import run
from deepmad_jax.tasks.task import split_network
from deepmad_jax.tasks.video.exports import write_recogniser_onnx, write_recogniser_stablehlo
from deepmad_jax.tasks.video.functions import make_score_fn, normalised
from deepmad_jax.tasks.video.recogniser import make_recogniser
from deepmad_jax.tasks.video.task import VIDEO

FRAMES, CLASSES, SIDE = 4, 5, 16
ARCH = Architecture(
    "clips",
    *(SIDE, 3, 10, Stem(8, 3, 2, kernel_t=3)),
    stages=(Stage("basic", 8, 8, 3, 1, 2, kernel_t=3, stride_t=2),),
    frames=FRAMES,
)
TRAIN = TrainConfig(dtype="float32", zero_init=False)
CLIPS = dataclasses.replace(
    CONFIG,
    train=TRAIN,
    video=dataclasses.replace(
        CONFIG.video, segments=FRAMES, test_segments=2 * FRAMES, crop=SIDE, test_crop=SIDE
    ),
)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def net():
    net = make_recogniser(ARCH, CLIPS, CLASSES, True)
    net.classes.kernel[...] *= 50.0
    return net


@pytest.fixture(scope="module")
def frames():
    """Two clips a video, every frame of another light."""
    rng = np.random.default_rng(0)
    light = rng.normal(size=(2, 2 * FRAMES, 1, 1, 3))
    return (rng.normal(size=(2, 2 * FRAMES, SIDE, SIDE, 3)) + 2 * light).astype(np.float32)


@nnx.jit
def logits_of(net, frames):
    return net(frames)


def test_each_clip_has_every_nth_frame_and_the_logits_are_the_mean_over_clips(net, frames):
    found = logits_of(net, frames)
    clips = [logits_of(net, frames[:, start::2]) for start in range(2)]
    assert np.abs(clips[0] - clips[1]).max() > 0.01
    np.testing.assert_allclose(found, np.mean(clips, axis=0), **CLOSE)


def test_the_order_of_frames_is_seen(net, frames):
    turned = logits_of(net, frames[:, ::-1])
    assert np.abs(turned - logits_of(net, frames)).max() > 0.01


@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_video_is_judged_by_its_clips_and_crops(net, one_by_one):
    rng = np.random.default_rng(1)
    views = rng.integers(0, 255, (2, 2 * FRAMES, 5, SIDE, SIDE, 3)).astype(np.uint8)
    ends = {"label": np.zeros(2, np.int32), "index": np.arange(2), "mask": np.ones(2, np.float32)}
    graphdef, params, stats = split_network(net)
    score = jax.jit(make_score_fn(graphdef, CLIPS.video, one_by_one))
    found = score(params, stats, {"clip": views} | ends)["scores"]
    # Ten crops: the five, mirrored too; averaging logits is averaging features here.
    each = [
        logits_of(net, normalised(jnp.asarray(turn(views[:, :, crop]))))
        for crop in range(5)
        for turn in (lambda x: x, lambda x: x[:, :, :, ::-1])
    ]
    np.testing.assert_allclose(found, jax.nn.log_softmax(np.mean(each, axis=0)), **CLOSE)


def test_onnx_gives_the_logits_of_videos_of_any_number_of_clips(net, frames, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    write_recogniser_onnx(net, tmp_path / "net.onnx")
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=providers)
    for given in (frames, frames[:1, :FRAMES]):
        (found,) = session.run(["logits"], {"frames": given.transpose(0, 1, 4, 2, 3)})
        np.testing.assert_allclose(found, logits_of(net, given), rtol=1e-4, atol=1e-4)


def test_stablehlo_gives_the_logits_of_videos_of_any_number_of_clips(net, frames, tmp_path):
    write_recogniser_stablehlo(net, tmp_path / "net.stablehlo", SIDE)
    code = bytearray(pathlib.Path(tmp_path / "net.stablehlo").read_bytes())
    function = jax.export.deserialize(code)
    for given in (frames, frames[:1, :FRAMES]):
        found = function.call(given)
        np.testing.assert_allclose(found, logits_of(net, given), rtol=1e-4, atol=1e-4)


def test_a_run_on_video_files_moves_the_weights_and_is_judged(tmp_path):
    draw_motion(tmp_path / "set", {"train": 8, "val": 3}, trail=1)
    train = dataclasses.replace(CONFIG.train, epochs=2, checkpoint_every_epochs=2)
    data = dataclasses.replace(CONFIG.data, data_dir=str(tmp_path / "set"))
    config = dataclasses.replace(CLIPS, train=train, data=data)
    state = run.train(VIDEO, config, ARCH, tmp_path / "run")
    fresh = split_network(make_recogniser(ARCH, config, 6, True))[1]
    kernels = [
        tree["net"]["stages"][0]["first"]["layers"]["main2_conv"]["kernel"]
        for tree in (state.params, fresh)
    ]
    assert kernels[0].shape == (3, 3, 3, 8, 8)
    # Every frame of the kernel has learned.
    assert (np.abs(np.asarray(kernels[0]) - kernels[1]).max((1, 2, 3, 4)) > 1e-4).all()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"videos": 3' in lines


@pytest.mark.parametrize("field", ["segments", "test_segments"])
def test_frames_that_make_no_whole_clips_are_refused(field):
    video = dataclasses.replace(CLIPS.video, **{field: 6})
    config = dataclasses.replace(CLIPS, video=video)
    with pytest.raises(InvalidConfig, match=rf"{field} is 6, but clips sees clips of 4 frames"):
        make_recogniser(ARCH, config, CLASSES, True)
