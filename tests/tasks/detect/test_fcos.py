import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from detect_fixtures import assert_same_detections, ground_truth, load, maps, of_image, set_branch
from flax import nnx

from deepmad_jax.nets.parts import Making
from deepmad_jax.tasks.detect import fcos, fcos_loss
from deepmad_jax.tasks.detect.levels import inside_maps, per_place, sizes_of
from tests.tasks.recorded import CLOSE, below, nhwc, set_conv

FIXTURE = load("fcos")
CLASSES = int(FIXTURE["num_classes"])
KINDS = {"plain": fcos.PLAIN, "tricks": fcos.TRICKS}


def head_of(kind, num_maps=5):
    arrays = below(FIXTURE, f"{kind}/state/")
    depth = sum(key.startswith("cls_convs") and key.endswith("conv.weight") for key in arrays)
    width, c_in = arrays["cls_convs.0.conv.weight"].shape[:2]
    head = fcos.FcosHead(
        c_in,
        num_maps,
        CLASSES,
        Making(np.random.default_rng(0)),
        width=width,
        depth=depth,
        groups=int(FIXTURE["gn_groups"]),
        settings=KINDS[kind],
    )
    set_branch(head.class_branch, arrays, "cls_convs")
    set_branch(head.box_branch, arrays, "reg_convs")
    set_conv(head.class_conv, arrays, "conv_cls")
    set_conv(head.box_conv, arrays, "conv_reg")
    set_conv(head.centre_conv, arrays, "conv_centerness")
    for i, factor in enumerate(head.factors):
        factor[...] = jnp.asarray(arrays[f"scales.{i}.scale"])
    return head


def recorded(kind, boxes="reg"):
    arrays = below(FIXTURE, f"{kind}/")
    return fcos.FcosMaps(*(tuple(maps(arrays, name)) for name in ("cls", boxes, "ctr")))


@functools.cache
def losses_and_gradients(kind):
    def total(found, boxes, labels):
        parts = fcos_loss.fcos_losses(found, boxes, labels, KINDS[kind])
        return sum(parts.values()), parts

    return jax.jit(jax.value_and_grad(total, has_aux=True))


@pytest.mark.parametrize("kind", KINDS)
def test_head_gives_the_maps_of_mmdetection(kind):
    found = nnx.jit(lambda head, x: head(x))(head_of(kind), maps(FIXTURE, "in"))
    for ours, theirs in zip(found, recorded(kind), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_head_ignores_what_lies_on_the_canvas_around_an_image(kind):
    head, x = head_of(kind), maps(FIXTURE, "in")
    sizes = [(2 * h, 2 * w) for h, w in sizes_of(x)]
    canvas = [
        np.zeros((len(a), *s, a.shape[-1]), np.float32) for a, s in zip(x, sizes, strict=True)
    ]
    for big, small in zip(canvas, x, strict=True):
        big[:, : small.shape[1], : small.shape[2]] = small
    filled = jnp.asarray([FIXTURE["img_shape"]] * len(x[0]))
    masks = inside_maps(sizes, fcos.STRIDES, filled)
    found = nnx.jit(lambda head, x: head(x, masks))(head, canvas)
    for ours, theirs in zip(found, recorded(kind), strict=True):
        for big, small in zip(ours, theirs, strict=True):
            h, w = small.shape[1:3]
            np.testing.assert_allclose(big[:, :h, :w], small, **CLOSE)


def test_points_are_the_centres_of_map_pixels():
    points = fcos.points_of(sizes_of(recorded("plain").classes), fcos.STRIDES)
    np.testing.assert_array_equal(points, np.concatenate(maps(FIXTURE, "points")))


@pytest.mark.parametrize("kind", KINDS)
def test_points_answer_for_the_boxes_that_mmdetection_gives_them(kind):
    sizes = sizes_of(recorded(kind).classes)
    boxes, labels = ground_truth(FIXTURE)
    strides = per_place(fcos.STRIDES, sizes)
    ranges = [per_place(ends, sizes) for ends in np.transpose(fcos_loss.RANGES)]
    settings = KINDS[kind]

    @jax.jit
    @jax.vmap
    def targets_of(boxes, labels):
        points = jnp.asarray(fcos.points_of(sizes, fcos.STRIDES))
        return fcos_loss.assign(
            points, strides, ranges, boxes, labels, CLASSES, settings.centre_radius
        )

    found = targets_of(boxes, labels)
    unit = strides[:, None] if settings.by_stride else 1.0
    distances = np.where((found.labels < CLASSES)[..., None], found.distances / unit, 0.0)
    start = 0
    for i, (height, width) in enumerate(sizes):
        part = slice(start, start + height * width)
        start += height * width
        wanted = FIXTURE[f"{kind}/labels{i}"].reshape(len(boxes), -1)
        np.testing.assert_array_equal(found.labels[:, part], wanted)
        wanted_at = FIXTURE[f"{kind}/targets{i}"].reshape(len(boxes), -1, 4)
        wanted_at = np.where((wanted < CLASSES)[..., None], wanted_at, 0.0)
        np.testing.assert_allclose(distances[:, part], wanted_at, **CLOSE)
    # All images of a map before the next map.
    order = np.argsort(np.repeat(np.arange(len(sizes)), [h * w for h, w in sizes]), kind="stable")
    by_map = np.concatenate(
        [
            np.asarray(found.distances)[:, order[a:b]].reshape(-1, 4)[
                np.asarray(found.labels)[:, order[a:b]].ravel() < CLASSES
            ]
            for a, b in _bounds(sizes)
        ]
    )
    np.testing.assert_allclose(
        fcos_loss.centreness(jnp.asarray(by_map)), FIXTURE[f"{kind}/centerness_targets"], **CLOSE
    )


def _bounds(sizes):
    ends = np.cumsum([h * w for h, w in sizes])
    return zip([0, *ends[:-1]], ends, strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_their_gradients_are_mmdetections(kind):
    boxes, labels = ground_truth(FIXTURE)
    (_, parts), grads = losses_and_gradients(kind)(recorded(kind), boxes, labels)
    for ours, theirs in (("class", "cls"), ("box", "bbox"), ("centre", "centerness")):
        wanted = FIXTURE[f"{kind}/loss_{theirs}"]
        np.testing.assert_allclose(parts[f"loss_{ours}"], wanted, **CLOSE)
    for ours, theirs in zip(grads, ("cls", "reg", "ctr"), strict=True):
        wanted = nhwc(FIXTURE[f"{kind}/grad_{theirs}0"])
        np.testing.assert_allclose(ours[0], wanted, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_boxes_have_only_a_class_loss(kind):
    boxes, labels = ground_truth(FIXTURE)
    empty = losses_and_gradients(kind)(recorded(kind), boxes, np.full_like(labels, -1))
    (_, parts), grads = empty
    np.testing.assert_allclose(parts["loss_class"], FIXTURE[f"{kind}/all_empty_loss_cls"], **CLOSE)
    assert parts["loss_box"] == FIXTURE[f"{kind}/all_empty_loss_bbox"] == 0
    assert parts["loss_centre"] == FIXTURE[f"{kind}/all_empty_loss_centerness"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert all(not leaf.any() for leaf in jax.tree.leaves(grads[1:]))


@pytest.mark.parametrize("candidates", [1000, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_detections_are_mmdetections(kind, candidates):
    settings = dataclasses.replace(KINDS[kind], candidates=candidates)
    found = recorded(kind)
    sizes = jnp.asarray([FIXTURE["img_shape"]] * len(found.classes[0]))
    every = jax.jit(lambda maps: fcos.decode(maps, sizes, settings))(found)
    images = {k.split("/")[1] for k in FIXTURE if k.startswith(f"{kind}/det_pre{candidates}_")}
    assert images
    for image in images:
        one = of_image(every, int(image.rpartition("_")[2]))
        arrays = below(FIXTURE, f"{kind}/{image}/")
        # They are on the original image, which is the network's over 1.25.
        one = one._replace(boxes=one.boxes / 1.25)
        assert_same_detections(one, arrays["boxes"], arrays["scores"], arrays["labels"])
