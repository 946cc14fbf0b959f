import jax
import numpy as np
import pytest
from detect_fixtures import load, maps
from flax import nnx

from deepmad_jax.nets import fpn
from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.detect.nms import best_detections, nms
from tests.tasks.recorded import CLOSE, below, set_conv

EXTRAS = {"fcos": fpn.FCOS_EXTRA, "gfl": fpn.GFL_EXTRA, "maskrcnn": fpn.MASK_RCNN_EXTRA}
PYRAMIDS = load("fpn")
NMS = load("nms")


@pytest.mark.parametrize("kind", EXTRAS)
def test_pyramid_is_mmdetections_at_odd_sizes_too(kind):
    arrays = below(PYRAMIDS, f"{kind}/state/")
    inputs = maps(PYRAMIDS, "in")
    used = inputs if kind == "maskrcnn" else inputs[1:]
    width = arrays["lateral_convs.0.conv.weight"].shape[0]
    net = fpn.FPN(
        [x.shape[-1] for x in used], width, EXTRAS[kind], Making(np.random.default_rng(0))
    )
    for name, convs in (
        ("lateral_convs", [*net.laterals]),
        ("fpn_convs", [*net.outputs, *net.above]),
    ):
        for i, conv in enumerate(convs):
            set_conv(conv, arrays, f"{name}.{i}.conv")
    found = nnx.jit(lambda net, x: net(x))(net, used)
    wanted = maps(PYRAMIDS, f"{kind}/out")
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


@pytest.mark.parametrize("key", sorted(k for k in NMS if k.endswith("/keep")))
def test_suppression_keeps_what_the_compiled_one_keeps(key):
    threshold = float(key.split("/")[0].rpartition("_")[2])
    labels = NMS["labels"] if key.startswith("batched") else None
    limit = len(NMS["boxes"]) + 3
    index, valid = jax.jit(nms, static_argnums=(2, 3))(
        NMS["boxes"], NMS["scores"], threshold, limit, labels
    )
    np.testing.assert_array_equal(index[valid], NMS[key])
    assert valid.sum() == len(NMS[key])
    assert valid[: len(NMS[key])].all()


def test_suppression_ends_at_its_limit_and_never_keeps_padding():
    boxes = np.concatenate([NMS["boxes"], NMS["boxes"] + 1000])
    scores = np.concatenate([NMS["scores"], np.full(len(NMS["scores"]), -np.inf, np.float32)])
    labels = np.concatenate([NMS["labels"], NMS["labels"]])
    found = jax.jit(best_detections, static_argnums=(3, 4))(boxes, scores, labels, 0.5, 80)
    wanted = NMS["batched_nms_0.5/keep"]
    assert found.valid.sum() == len(wanted)
    np.testing.assert_array_equal(found.boxes[found.valid], NMS["boxes"][wanted])
    first = jax.jit(best_detections, static_argnums=(3, 4))(boxes, scores, labels, 0.5, 7)
    np.testing.assert_array_equal(first.boxes, NMS["boxes"][wanted[:7]])
