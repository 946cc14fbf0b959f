import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from detect_fixtures import assert_same_detections, ground_truth, load, maps, of_image, set_branch
from flax import nnx

from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.detect import atss, gfl, losses
from deepmad_jax.tasks.detect import boxes as b
from deepmad_jax.tasks.detect.gfl_loss import gfl_losses
from deepmad_jax.tasks.detect.levels import counts, sizes_of
from tests.tasks.recorded import CLOSE, below, nhwc, set_conv

FIXTURE = load("gfl")
CLASSES = int(FIXTURE["num_classes"])
ASSIGNED = load("atss")
RECORDED = gfl.GflMaps(tuple(maps(FIXTURE, "cls")), tuple(maps(FIXTURE, "reg")))
SIZES = sizes_of(RECORDED.scores)
LEVELS = range(len(SIZES))


def head():
    arrays = below(FIXTURE, "state/")
    width, c_in = arrays["cls_convs.0.conv.weight"].shape[:2]
    made = gfl.GflHead(
        c_in,
        len(SIZES),
        len(arrays["gfl_cls.bias"]),  # the source has one output more than classes, never wanted
        Making(np.random.default_rng(0)),
        width=width,
        depth=sum(k.startswith("cls_convs") and k.endswith("conv.weight") for k in arrays),
        groups=int(FIXTURE["gn_groups"]),
        quality_width=arrays["reg_conf.0.weight"].shape[0],
    )
    set_branch(made.class_branch, arrays, "cls_convs")
    set_branch(made.box_branch, arrays, "reg_convs")
    for ours, theirs in (
        (made.class_conv, "gfl_cls"),
        (made.box_conv, "gfl_reg"),
        (made.quality_in, "reg_conf.0"),
        (made.quality_out, "reg_conf.2"),
    ):
        set_conv(ours, arrays, theirs)
    for i, factor in enumerate(made.factors):
        factor[...] = jnp.asarray(arrays[f"scales.{i}.scale"])
    return made


@functools.cache
def losses_and_gradients():
    def total(found, boxes, labels):
        parts = gfl_losses(found, boxes, labels)
        return sum(part.sum() for part in parts.values()), parts

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def test_head_gives_the_scores_and_distributions_of_gfocalv2():
    found = nnx.jit(lambda head, x: head(x))(head(), maps(FIXTURE, "in"))
    for ours, theirs in zip(found, RECORDED, strict=True):
        for a, c in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, c, **CLOSE)


def test_first_version_of_gfl_has_no_quality():
    made = head()
    made.settings = gfl.V1
    found = nnx.jit(lambda head, x: head(x))(made, maps(FIXTURE, "in"))
    for v1, v2 in zip(found.scores, RECORDED.scores, strict=True):
        ratio = v2 / v1
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[..., :1], v2.shape), rtol=1e-4)
        assert (v1 > v2).all()


def test_anchors_are_centred_at_multiples_of_the_stride():
    anchors = gfl.anchors_of(SIZES, gfl.STRIDES)
    np.testing.assert_array_equal(anchors, np.concatenate(maps(FIXTURE, "anchors")))


def images_of(arrays):
    return range(sum(k.startswith("gt") and k.endswith("/boxes") for k in arrays))


@pytest.mark.parametrize("image", images_of(ASSIGNED))
def test_anchors_answer_for_the_boxes_that_mmdetection_gives_them(image):
    boxes, labels = ground_truth(ASSIGNED)
    anchors = maps(ASSIGNED, "anchors")
    assign = jax.jit(atss.assign, static_argnums=1)
    numbers = tuple(map(len, anchors))
    found = assign(np.concatenate(anchors), numbers, boxes[image], labels[image] >= 0)
    wanted = ASSIGNED[f"gt{image}/assigned_gt_inds"]
    np.testing.assert_array_equal(found.box + 1, wanted)
    overlaps = ASSIGNED[f"gt{image}/max_overlaps"]
    np.testing.assert_allclose(
        np.where(wanted > 0, found.overlap, 0), np.where(wanted > 0, overlaps, 0), **CLOSE
    )


def test_anchors_off_the_image_are_neither_chosen_nor_counted():
    boxes, labels = ground_truth(ASSIGNED)
    anchors = maps(ASSIGNED, "anchors")
    assign = jax.jit(atss.assign, static_argnums=1)
    keep = [np.arange(len(a)) % 3 != 0 for a in anchors]
    few = assign(
        np.concatenate([a[k] for a, k in zip(anchors, keep, strict=True)]),
        tuple(int(k.sum()) for k in keep),
        boxes[0],
        labels[0] >= 0,
    )
    masked = assign(
        np.concatenate(anchors),
        tuple(map(len, anchors)),
        boxes[0],
        labels[0] >= 0,
        np.concatenate(keep),
    )
    np.testing.assert_array_equal(masked.box[np.concatenate(keep)], few.box)
    assert (masked.box[~np.concatenate(keep)] == -1).all()
    assert (few.box >= 0).any()


def test_training_targets_are_gfocalv2s():
    boxes, labels = ground_truth(FIXTURE)
    anchors = jnp.asarray(gfl.anchors_of(SIZES, gfl.STRIDES))
    assign = jax.jit(
        jax.vmap(lambda box, valid: atss.assign(anchors, counts(SIZES), box, valid).box)
    )
    place = np.asarray(assign(boxes, labels >= 0))
    label = np.where(place >= 0, np.take_along_axis(labels, place.clip(0), 1), CLASSES)
    np.testing.assert_array_equal(label, np.concatenate([FIXTURE[f"labels{i}"] for i in LEVELS], 1))
    assert np.maximum((place >= 0).sum(1), 1).sum() == FIXTURE["num_total_pos"]
    target = np.take_along_axis(boxes, place.clip(0)[..., None], 1) * (place >= 0)[..., None]
    wanted = np.concatenate([FIXTURE[f"targets{i}"] for i in LEVELS], 1)
    np.testing.assert_allclose(target, wanted, **CLOSE)


def test_losses_and_their_gradients_are_gfocalv2s():
    (_, parts), grads = losses_and_gradients()(RECORDED, *ground_truth(FIXTURE))
    for ours, theirs in (("class", "cls"), ("box", "bbox"), ("sides", "dfl")):
        np.testing.assert_allclose(parts[f"loss_{ours}"], FIXTURE[f"loss_{theirs}"], **CLOSE)
    for name, of_maps in zip(("grad_cls", "grad_reg"), grads, strict=True):
        recorded = [i for i in LEVELS if f"{name}{i}" in FIXTURE]
        assert recorded
        for i in recorded:
            np.testing.assert_allclose(of_maps[i], nhwc(FIXTURE[f"{name}{i}"]), **CLOSE)


def test_images_without_boxes_have_finite_losses():
    boxes, labels = ground_truth(FIXTURE)
    (_, parts), grads = losses_and_gradients()(RECORDED, boxes, np.full_like(labels, -1))
    assert parts["loss_class"].sum() > 0
    assert not parts["loss_box"].any()
    assert not parts["loss_sides"].any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("candidates", [1000, 30])
def test_detections_are_gfocalv2s(candidates):
    settings = dataclasses.replace(gfl.V2, candidates=candidates)
    sizes = jnp.asarray([FIXTURE["img_shape"]] * len(RECORDED.scores[0]))
    every = jax.jit(lambda maps: gfl.decode(maps, sizes, settings))(RECORDED)
    images = {k.split("/")[0] for k in FIXTURE if k.startswith(f"det_pre{candidates}_")}
    assert images
    for image in images:
        one = of_image(every, int(image.rpartition("_")[2]))
        arrays = below(FIXTURE, f"{image}/")
        one = one._replace(boxes=one.boxes / 1.25)
        assert_same_detections(one, arrays["boxes"], arrays["scores"], arrays["labels"])


def test_single_losses_are_gfocalv2s():
    f = FIXTURE
    p, label, score = f["qfl/prob"], f["qfl/label"], f["qfl/score"]
    target = np.zeros_like(p)
    known = label < p.shape[1]
    target[known, label[known]] = score[known]
    np.testing.assert_allclose(losses.quality_focal(p, target).sum(-1), f["qfl/loss"], **CLOSE)
    found = losses.distribution_focal(jnp.asarray(f["dfl/logits"]), jnp.asarray(f["dfl/label"]))
    np.testing.assert_allclose(found, f["dfl/loss"], **CLOSE)
    pred, box = jnp.asarray(f["iou/pred"]), jnp.asarray(f["iou/target"])
    np.testing.assert_allclose(losses.giou(pred, box), f["iou/giou_loss"], **CLOSE)
    np.testing.assert_allclose(losses.log_iou(pred, box), f["iou/iou_loss_log"], **CLOSE)
    # One distribution a row, which the source repeats for the four sides.
    means = gfl.expected(jnp.asarray(np.tile(f["integral/logits"], (1, 4))))
    np.testing.assert_allclose(means, f["integral/out"], **CLOSE)
    assert b.iou(pred, pred).max() <= 1
