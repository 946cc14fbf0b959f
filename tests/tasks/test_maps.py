"""The activation maps that detectors, segmenters and recognisers show."""

import dataclasses

import jax
import numpy as np
import pytest

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.config import Config, DetectConfig, SegmentConfig, TrainConfig, VideoConfig
from deepmad_jax.tasks.canvas import on_canvas
from deepmad_jax.tasks.detect.detectors import make_detector
from deepmad_jax.tasks.detect.task import DETECT
from deepmad_jax.tasks.segment.segmenter import make_segmenter
from deepmad_jax.tasks.segment.task import SEGMENT
from deepmad_jax.tasks.task import split_network
from deepmad_jax.tasks.video.functions import normalised
from deepmad_jax.tasks.video.recogniser import make_recogniser
from deepmad_jax.tasks.video.task import VIDEO

STAGES = tuple(Stage("basic", 8, 8, 3, 1, 2) for _ in range(4))
ARCH = Architecture("tiny", 64, 3, 10, Stem(8, 3, 2), STAGES)
CLIPS = Architecture(
    "clips",
    *(64, 3, 10, Stem(8, 3, 2, kernel_t=3)),
    stages=(Stage("basic", 8, 8, 3, 1, 2, kernel_t=3),),
    frames=2,
)
CONFIG = Config(
    train=TrainConfig(dtype="float32"),
    detect=DetectConfig(width=8, depth=1, groups=2, hidden=16, frozen_stages=0),
    segment=SegmentConfig(classes=3, width=8, aux_width=8),
    video=VideoConfig(segments=4, test_segments=4),
)
KEY = jax.random.key(0)


def maps_of(task, net, batch):
    graphdef, *variables = split_network(net)
    maps = task.maps(graphdef, None, CONFIG)
    return jax.jit(lambda *args: maps(*args, batch, KEY))(*variables)


def check(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def batch_of_images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    return {"image": images, "size": np.array([[64, 96], [50, 70]])}


@pytest.mark.parametrize(("head", "finest"), [("fcos", 3), ("mask_rcnn", 2)])
def test_a_detector_shows_its_backbone_and_its_pyramid(head, finest):
    detect = dataclasses.replace(CONFIG.detect, head=head)
    config = dataclasses.replace(CONFIG, detect=detect)
    net, batch = make_detector(ARCH, config, 3, True), batch_of_images()
    found = maps_of(DETECT, net, batch)
    backbone = [name for name in found if name.startswith("backbone.")]
    pyramid = [name for name in found if name.startswith("pyramid.")]
    assert backbone == [f"backbone.level{level}" for level in range(finest, 6)]
    assert pyramid == [f"pyramid.p{finest + i}" for i in range(len(pyramid))]
    given = net.backbone(on_canvas(batch["image"], batch["size"]), True)
    check([found[name] for name in backbone], given)
    check([found[name] for name in pyramid], net.neck(given))
    for name in pyramid:
        stride = 2 ** int(name.removeprefix("pyramid.p"))
        assert found[name].shape[1:3] == (-(-64 // stride), -(-96 // stride))


def test_a_segmenter_shows_its_backbone():
    net, batch = make_segmenter(ARCH, CONFIG, True), batch_of_images()
    found = maps_of(SEGMENT, net, batch)
    assert list(found) == [f"backbone.level{level}" for level in range(2, 6)]
    check(found.values(), net.backbone(on_canvas(batch["image"], batch["size"]), True))


@pytest.mark.parametrize("arch", [ARCH, CLIPS], ids=["frames", "clips"])
def test_a_recogniser_shows_the_maps_of_all_frames_or_clips(arch):
    net = make_recogniser(arch, CONFIG, 5, True)
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3), dtype=np.uint8)
    found = maps_of(VIDEO, net, {"clip": clips})
    assert list(found) == [feature.name for feature in net.net.feature_info]
    seen = normalised(clips)
    if arch is CLIPS:  # every second frame
        seen = np.stack([seen[:, ::2], seen[:, 1::2]], 1).reshape(4, 2, 64, 64, 3)
    else:
        seen = seen.reshape(8, 64, 64, 3)
    check(found.values(), net.net.features(seen, True))
