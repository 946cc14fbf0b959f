import jax
import jax.numpy as jnp
import numpy as np
import pytest
from detect_fixtures import load, maps
from flax import nnx

from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.detect import boxes as b
from deepmad_jax.tasks.detect import masks, matching, roi_align, roi_heads, rpn
from deepmad_jax.tasks.detect.levels import sizes_of
from tests.tasks.recorded import CLOSE, below, nhwc, set_conv

FIXTURE = load("maskrcnn")
MAKING = Making(np.random.default_rng(0))
CODES = {"rpn": rpn.STDS, "rcnn": roi_heads.BoxCode().stds} | {
    f"cascade{i}": roi_heads.CASCADE_CODES[i - 1].stds for i in (2, 3)
}


@pytest.mark.parametrize("key", sorted(k for k in FIXTURE if k.startswith("roialign/out")))
def test_roi_align_is_mmcvs(key):
    arrays = below(FIXTURE, "roialign/")
    out, samples, aligned = (
        int("".join(filter(str.isdigit, part))) for part in key.split("/")[1].split("_")[1:]
    )
    x, rois = nhwc(arrays["input"]), arrays["rois"]

    @jax.jit
    def run(x, rois):
        scale = float(arrays["spatial_scale"])
        every = [
            roi_align.roi_align(m, rois[:, 1:], out, scale, samples=samples, aligned=bool(aligned))
            for m in x
        ]
        return jnp.stack(every)[rois[:, 0].astype(int), jnp.arange(len(rois))]

    np.testing.assert_allclose(run(x, rois), nhwc(FIXTURE[key]), **CLOSE)


def test_boxes_are_read_off_the_maps_of_their_sizes():
    arrays = below(FIXTURE, "extractor/")
    feats, rois = maps(arrays, "feat"), arrays["rois"]
    np.testing.assert_array_equal(
        roi_align.level_of(jnp.asarray(rois[:, 1:]), len(feats)), arrays["levels"]
    )
    run = jax.jit(
        lambda x: jnp.stack(
            [
                roi_align.from_pyramid([m[i] for m in x], rois[:, 1:], arrays["out"].shape[-1], 4)
                for i in range(len(feats[0]))
            ]
        )
    )
    found = run(feats)[rois[:, 0].astype(int), np.arange(len(rois))]
    np.testing.assert_allclose(found, nhwc(arrays["out"]), **CLOSE)


def test_many_boxes_are_read_as_few_are_and_maps_get_gradients():
    x = nhwc(FIXTURE["extractor/feat1"])[0]
    rois = np.tile(FIXTURE["extractor/rois"][:, 1:], (7, 1))
    assert len(rois) > roi_align.AT_A_TIME
    found = jax.jit(lambda x: roi_align.roi_align(x, rois, 7, 1 / 8))(x)
    np.testing.assert_allclose(found, np.tile(found[: len(rois) // 7], (7, 1, 1, 1)), rtol=1e-6)

    def once(x):
        return roi_align.roi_align(x, rois[:7], 7, 1 / 8).sum()

    slope = jax.jit(jax.grad(once))(x)
    # Linear in the map, so the derivative along the map is the value.
    np.testing.assert_allclose((slope * x).sum(), once(x), rtol=1e-4)


@pytest.mark.parametrize("name", CODES)
def test_deltas_are_mmdetections_both_ways(name):
    arrays = below(FIXTURE, "coder/")
    proposals, deltas = jnp.asarray(arrays["proposals"]), jnp.asarray(arrays["deltas"])
    there = b.encode(proposals, jnp.asarray(arrays["gt"]), CODES[name])
    np.testing.assert_allclose(there, arrays[f"{name}_encode"], **CLOSE)
    back = b.decode(proposals, deltas, CODES[name])
    np.testing.assert_allclose(back, arrays[f"{name}_decode_noclip"], rtol=1e-4, atol=1e-3)
    clipped = b.clip(back, arrays["max_shape"])
    np.testing.assert_allclose(clipped, arrays[f"{name}_decode"], rtol=1e-4, atol=1e-3)


def recorded_rpn():
    arrays = below(FIXTURE, "rpn/")
    return rpn.RpnMaps(tuple(maps(arrays, "cls")), tuple(maps(arrays, "reg")))


def test_rpn_head_and_anchors_are_mmdetections():
    arrays = below(FIXTURE, "rpn/")
    state = below(arrays, "state/")
    width, c_in = state["rpn_conv.weight"].shape[:2]
    head = rpn.RpnHead(c_in, MAKING, width=width)
    for ours, theirs in (
        (head.shared, "rpn_conv"),
        (head.score, "rpn_cls"),
        (head.shift, "rpn_reg"),
    ):
        set_conv(ours, state, theirs)
    found = nnx.jit(lambda head, x: head(x))(head, maps(arrays, "in"))
    for ours, theirs in zip(found, recorded_rpn(), strict=True):
        for a, c in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, c, **CLOSE)
    for i, base in enumerate(maps(arrays, "base_anchors")):
        one = rpn.anchors_of([(1, 1)], rpn.STRIDES[i : i + 1])
        np.testing.assert_allclose(one, base, **CLOSE)
    sizes = sizes_of(found.logits)
    anchors = rpn.anchors_of(sizes, rpn.STRIDES[: len(sizes)])
    np.testing.assert_allclose(anchors, np.concatenate(maps(arrays, "grid_anchors")), **CLOSE)


def test_proposals_are_mmdetections():
    arrays, found = below(FIXTURE, "rpn/"), recorded_rpn()
    anchors = np.concatenate(maps(arrays, "grid_anchors"))
    wanted, scores = arrays["proposals_boxes"], arrays["proposals_scores"]
    # The image's size is not recorded; some proposals reach its edges.
    size = jnp.asarray([wanted[:, 3].max(), wanted[:, 2].max()])[None]
    settings = rpn.RpnSettings(limit=len(wanted))
    boxes, ours = jax.jit(lambda m: rpn.proposals(m, anchors, size, settings))(found)
    np.testing.assert_allclose(ours[0], scores, **CLOSE)
    np.testing.assert_allclose(boxes[0], wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("rpn", matching.RPN_OVERLAPS),
        ("rcnn_mask", matching.ROI_OVERLAPS),
        ("cascade2", matching.CASCADE_OVERLAPS[1]),
        ("ignore_half", None),
    ],
)
def test_candidates_answer_for_the_boxes_that_mmdetection_gives_them(key, rule):
    arrays = below(FIXTURE, "assign/")
    boxes = np.concatenate([arrays["gt_boxes"], arrays["priors"][:2]])  # the last two are padding
    valid = np.arange(len(boxes)) < len(arrays["gt_boxes"])
    # A box whose own anchors are all ignored has every anchor for its best, at an overlap of 0.
    rule = rule or matching.Overlaps(0.5, 0.4, least=0.0, ignored=0.5)
    found = jax.jit(matching.match, static_argnums=3)(
        arrays["priors"], boxes, valid, rule, arrays["ignore_boxes"]
    )
    np.testing.assert_array_equal(found + 1, arrays[f"{key}_gt_inds"])


def test_sample_holds_as_many_as_asked_for_and_no_more_positives_than_allowed():
    found = jnp.asarray(FIXTURE["assign/rpn_gt_inds"] - 1)
    draw = jax.jit(matching.sample, static_argnums=(2, 3))
    positives, negatives = int((found >= 0).sum()), int((found == -1).sum())
    few = draw(found, jax.random.key(0), 4, 0.5)
    assert few.positive.sum() == min(2, positives)
    assert few.counted.all()
    many = draw(found, jax.random.key(1), len(found), 0.5)
    assert many.positive.sum() == min(positives, len(found) // 2)
    assert many.counted.sum() == many.positive.sum() + negatives
    np.testing.assert_array_equal(many.box[many.counted], found[many.index[many.counted]])
    assert len(set(np.asarray(many.index[many.counted]).tolist())) == many.counted.sum()
    other = draw(found, jax.random.key(2), 4, 0.5)
    assert (other.index != few.index).any()


def test_box_head_is_mmdetections():
    arrays = below(FIXTURE, "bbox_head/")
    state, x = below(arrays, "state/"), nhwc(arrays["in"])
    classes = len(state["fc_cls.bias"]) - 1
    head = roi_heads.BoxHead(x.shape[-1], classes, MAKING, width=len(state["shared_fcs.0.bias"]))
    # Theirs flattens channels first, ours last.
    first = state["shared_fcs.0.weight"].reshape(-1, x.shape[-1], *x.shape[1:3])
    state["shared_fcs.0.weight"] = first.transpose(0, 2, 3, 1).reshape(len(first), -1)
    for i, layer in enumerate(head.hidden):
        set_conv(layer, state, f"shared_fcs.{i}")
    set_conv(head.classes, state, "fc_cls")
    set_conv(head.deltas, state, "fc_reg")
    logits, deltas = nnx.jit(lambda head, x: head(x))(head, x)
    np.testing.assert_allclose(logits, arrays["cls"], **CLOSE)
    np.testing.assert_allclose(deltas.reshape(len(x), -1), arrays["reg"], **CLOSE)


def test_mask_head_and_its_loss_are_mmdetections():
    arrays = below(FIXTURE, "mask_head/")
    state, x = below(arrays, "state/"), nhwc(arrays["in"])
    depth = sum(k.startswith("convs") and k.endswith("weight") for k in state)
    head = roi_heads.MaskHead(
        x.shape[-1],
        len(state["conv_logits.bias"]),
        MAKING,
        width=len(state["convs.0.conv.bias"]),
        depth=depth,
    )
    for i, layer in enumerate(head.convs):
        set_conv(layer, state, f"convs.{i}.conv")
    # PyTorch's kernel is (in, out, h, w) and is not turned round; Flax's is.
    kernel = state["upsample.weight"].transpose(2, 3, 0, 1)[::-1, ::-1]
    head.larger.kernel[...] = jnp.asarray(kernel.copy())
    head.larger.bias[...] = jnp.asarray(state["upsample.bias"])
    set_conv(head.logits, state, "conv_logits")
    found = nnx.jit(lambda head, x: head(x))(head, x)
    np.testing.assert_allclose(found, nhwc(arrays["out"]), **CLOSE)
    labels = jnp.asarray(arrays["labels"])
    loss = roi_heads.mask_loss(found, jnp.asarray(arrays["targets"]), labels, labels >= 0)
    np.testing.assert_allclose(loss, arrays["loss"][0], **CLOSE)


def test_mask_targets_are_mmdetections():
    arrays = below(FIXTURE, "mask_target/")
    bitmaps = jnp.asarray(arrays["bitmaps"][arrays["gt_inds"]])
    frames = jnp.tile(jnp.array([0.0, 0.0, *bitmaps.shape[:0:-1]]), (len(bitmaps), 1))
    (side,) = {s for k, v in arrays.items() if k.startswith("out") for s in v.shape[1:]}
    found = jax.jit(masks.targets, static_argnums=3)(bitmaps, frames, arrays["boxes"], side)
    np.testing.assert_array_equal(found, arrays[f"out{side}"])


def test_pasted_masks_are_mmdetections():
    arrays = below(FIXTURE, "paste/")
    found = masks.paste(arrays["masks"][:, 0], arrays["boxes"], tuple(arrays["size"]))
    np.testing.assert_allclose(found, arrays["out"], **CLOSE)
