import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_detect_job import ARCH, CONFIG

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


def run(path, image, **values):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {} if image is None else {"images": image.transpose(0, 3, 1, 2)}
    values = session.run(None, given | values)
    return {o.name: v for o, v in zip(session.get_outputs(), values, strict=True)}


@pytest.mark.parametrize(
    ("head", "candidates"),
    [
        ("fcos", 1000),
        ("gfl", 20),
        pytest.param("fcos", 40, marks=pytest.mark.slow),
        pytest.param("fcos_tricks", 1000, marks=pytest.mark.slow),
        pytest.param("gfl", 1000, marks=pytest.mark.slow),
        pytest.param("gfl_v1", 60, marks=pytest.mark.slow),
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


@pytest.mark.parametrize("head", ["fcos", pytest.param("gfl", marks=pytest.mark.slow)])
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


def judging(head):
    """A detector of proposals that finds something, and takes its boxes from every map."""
    detect = dataclasses.replace(CONFIG.detect, head=head, eval_proposals=30)
    net = make_detector(ARCH, dataclasses.replace(CONFIG, detect=detect), CLASSES, True)
    rng = np.random.default_rng(1)

    def draw(layer, std):
        layer.kernel[...] = jnp.asarray(rng.normal(0, std, layer.kernel[...].shape), jnp.float32)

    draw(net.rpn.score, 0.5)
    draw(net.rpn.shift, 0.1)
    for box, mask in zip(net.box_heads, net.mask_heads, strict=True):
        for layer in (*box.hidden, box.classes):
            draw(layer, 0.1)
        draw(box.deltas, 0.05)
        for layer in (*mask.convs, mask.larger, mask.logits):
            draw(layer, 0.2)
            layer.bias[...] = jnp.asarray(rng.normal(0, 0.1, layer.bias[...].shape), jnp.float32)
    return net


def detections(net, images):
    sizes = jnp.array([SIZE] * len(images))
    return nnx.jit(lambda net, x, s: net.detections(x, s))(net, images, sizes)


def assert_same(ours, found, masks):
    """By falling score; neighbouring ones may trade places."""
    count = int(found.valid.sum())
    assert len(ours["scores"]) == count
    np.testing.assert_allclose(ours["scores"], found.scores[0, :count], rtol=1e-4, atol=1e-5)
    left = list(range(count))
    for box, label, mask in zip(ours["boxes"], ours["labels"], ours["masks"], strict=True):
        near = [
            i
            for i in left
            if found.labels[0, i] == label
            and np.allclose(found.boxes[0, i], box, atol=1e-2)
            and np.allclose(masks[0, i], mask, atol=1e-3)
        ]
        assert near
        left.remove(near[0])


@pytest.fixture(
    scope="module",
    params=["mask_rcnn", pytest.param("cascade_mask_rcnn", marks=pytest.mark.slow)],
)
def judged(request, image):
    """A detector, and the boxes and masks that it finds."""
    net = judging(request.param)
    found, masks = detections(net, image)
    assert 2 < found.valid.sum() < len(found.valid[0])
    return net, found, masks


def test_exported_detector_of_proposals_finds_the_same_boxes_and_masks(judged, image, tmp_path):
    net, *wanted = judged
    assert write_detector(net, tmp_path / "net.onnx", SIZE, True) == [tmp_path / "net.onnx"]
    assert_same(run(tmp_path / "net.onnx", image), *wanted)


def test_what_a_runtime_suppresses_itself_has_the_same_boxes_and_masks(judged, image, tmp_path):
    net, *wanted = judged
    files = write_detector(net, tmp_path / "net.onnx", SIZE, False)
    assert [file.name for file in files] == ["net.onnx", "net_masks.onnx"]
    given = run(files[0], image)
    boxes, scores = given.pop("boxes"), given.pop("scores")
    kept = []
    for label in range(CLASSES):
        kept += [(scores[label, i], label, i) for i in suppressed(boxes[label], scores[label])]
    best, labels, places = (np.array(column) for column in zip(*sorted(kept)[::-1], strict=True))
    chosen = boxes[labels, places]
    found = run(files[1], None, **given, boxes=chosen, labels=labels)
    assert_same({"scores": best, "labels": labels, "boxes": chosen, **found}, *wanted)


def suppressed(boxes, scores):
    """Greedy suppression at 0.5 in plain Python, with pycocotools' overlaps."""
    from pycocotools import mask

    flat = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(float)
    kept = []
    for place in np.argsort(-scores, kind="stable"):
        overlaps = mask.iou(flat[[place]], flat[kept], [0] * len(kept)) if kept else np.zeros(1)
        if scores[place] > 0 and np.max(overlaps) <= 0.5:
            kept.append(place)
    return kept


def test_nothing_is_found_where_no_class_is_likely(image, tmp_path):
    net = judging("mask_rcnn")
    net.box_heads[0].classes.bias[...] = jnp.array([0.0] * CLASSES + [100.0])
    write_detector(net, tmp_path / "net.onnx", SIZE, True)
    shapes = {name: value.shape for name, value in run(tmp_path / "net.onnx", image).items()}
    assert shapes == {"boxes": (0, 4), "scores": (0,), "labels": (0,), "masks": (0, 28, 28)}


def test_exported_boxes_of_every_size_are_read_off_their_maps(tmp_path):
    import onnx

    from deepmad_jax.interop.onnx_graph import model_of
    from deepmad_jax.interop.onnx_spot import Graph
    from deepmad_jax.tasks.detect.onnx_boxes import write_roi_align
    from deepmad_jax.tasks.detect.roi_align import from_pyramid, level_of

    rng = np.random.default_rng(2)
    maps = [rng.normal(size=(256 // s, 384 // s, 3)).astype(np.float32) for s in (4, 8, 16, 32)]
    small = rng.uniform(0, 200, (12, 2))
    large = np.array([[0, 0, 384, 256], [-9, 4, 130, 240], [60, 60, 60, 90], [5, 5, 117, 117]])
    rois = np.concatenate([np.concatenate([small, small + rng.uniform(3, 180, (12, 2))], 1), large])
    rois = rois.astype(np.float32)
    assert set(np.asarray(level_of(jnp.asarray(rois), 4)).tolist()) == {0, 1, 2}
    graph = Graph(onnx)
    names = [f"map{i}" for i in range(4)]
    grids = write_roi_align(graph, names, "rois", 7, 4)
    graph.nodes.append(onnx.helper.make_node("Identity", [grids], ["grids"]))
    describe, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    inputs = [
        describe(name, floats, [1, 3, *x.shape[:2]]) for name, x in zip(names, maps, strict=True)
    ]
    inputs.append(describe("rois", floats, ["n", 4]))
    outputs = [describe("grids", floats, ["n", 3, 7, 7])]
    onnx.save(model_of(graph, "grids", inputs, outputs), str(tmp_path / "grids.onnx"))
    values = {name: x.transpose(2, 0, 1)[None] for name, x in zip(names, maps, strict=True)}
    found = run(tmp_path / "grids.onnx", None, **values, rois=rois)["grids"]
    wanted = jax.jit(lambda maps, rois: from_pyramid(maps, rois, 7, 4))(maps, rois)
    # Sums of hundreds of samples in another order.
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), wanted, rtol=1e-4, atol=1e-5)
