import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_detect_job import ARCH, CONFIG

from deepmad_jax.errors import UserError
from deepmad_jax.tasks.detect.detectors import make_detector
from deepmad_jax.tasks.detect.onnx_export import write_detector

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

SIZE, CLASSES = (64, 96), 3


def detector(head, candidates=1000):
    """A network that finds something: with its first weights no score would pass."""
    detect = dataclasses.replace(CONFIG.detect, head=head)
    net = make_detector(ARCH, dataclasses.replace(CONFIG, detect=detect), CLASSES, True)
    rng = np.random.default_rng(1)
    for name in ("class_conv", "box_conv", "centre_conv", "quality_in", "quality_out"):
        conv = getattr(net.head, name, None)
        if conv is not None:
            conv.kernel[...] = jnp.asarray(rng.normal(0, 0.3, conv.kernel[...].shape), jnp.float32)
    net.head.class_conv.bias[...] = jnp.full((CLASSES,), -1.0)
    if head.startswith("fcos"):
        net.head.box_conv.bias[...] = jnp.full((4,), 2.0 if head == "fcos" else 1.0)
    net.head.settings = dataclasses.replace(net.head.settings, candidates=candidates)
    net.kind = dataclasses.replace(net.kind, settings=net.head.settings)
    return net


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, *SIZE, 3)).astype(np.float32)


def run(path, image):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = session.run(None, {"images": image.transpose(0, 3, 1, 2)})
    return {o.name: v for o, v in zip(session.get_outputs(), values, strict=True)}


@pytest.mark.parametrize(
    ("head", "candidates"),
    [
        ("fcos", 1000),
        ("fcos", 40),
        ("fcos_tricks", 1000),
        ("gfl", 1000),
        ("gfl", 20),
        ("gfl_v1", 60),
    ],
)
def test_exported_detector_finds_the_same_boxes(head, candidates, image, tmp_path):
    net = detector(head, candidates)
    found, _ = nnx.jit(lambda net, x, s: net.detections(x, s))(net, image, jnp.array([SIZE]))
    count = int(found.valid.sum())
    assert count > 2
    write_detector(net, tmp_path / "net.onnx", SIZE, True)
    ours = run(tmp_path / "net.onnx", image)
    assert len(ours["scores"]) == count
    np.testing.assert_allclose(ours["scores"], found.scores[0, :count], rtol=1e-4, atol=1e-5)
    # Neighbouring scores may trade places: rows are matched by label and box.
    left = list(range(count))
    for box, label in zip(ours["boxes"], ours["labels"], strict=True):
        near = [
            i
            for i in left
            if found.labels[0, i] == label and np.allclose(found.boxes[0, i], box, atol=1e-2)
        ]
        assert near
        left.remove(near[0])


@pytest.mark.parametrize("head", ["fcos", "gfl"])
def test_without_suppression_every_place_is_given(head, image, tmp_path):
    net = detector(head)
    write_detector(net, tmp_path / "net.onnx", SIZE, False)
    two = np.concatenate([image, image[:, :, ::-1]])
    found = run(tmp_path / "net.onnx", two)
    places = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1
    assert found["boxes"].shape == (2, places, 4)
    assert found["scores"].shape == (2, places, CLASSES)
    best, _ = nnx.jit(lambda net, x, s: net.detections(x, s))(net, two, jnp.array([SIZE] * 2))
    # Suppression never removes the best one.
    np.testing.assert_allclose(found["scores"].max((1, 2)), best.scores[:, 0], rtol=1e-4)
    top = found["scores"].max(-1).argmax(-1)
    boxes = found["boxes"][np.arange(2), top]
    np.testing.assert_allclose(boxes, best.boxes[:, 0], atol=1e-2)


def test_detectors_of_proposals_are_refused(tmp_path):
    detect = dataclasses.replace(CONFIG.detect, head="mask_rcnn")
    net = make_detector(ARCH, dataclasses.replace(CONFIG, detect=detect), CLASSES, True)
    with pytest.raises(UserError, match="Only FCOS and GFL"):
        write_detector(net, tmp_path / "net.onnx", SIZE, True)
