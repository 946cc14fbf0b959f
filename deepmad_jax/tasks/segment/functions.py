"""The functions over plain arrays that the engine compiles, made from a segmenter's graph."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.config import SegmentConfig
from deepmad_jax.tasks.canvas import on_canvas
from deepmad_jax.tasks.segment.judging import (
    at_label,
    from_tiles,
    judge,
    mosaic_of,
    windows_along,
)
from deepmad_jax.tasks.segment.loss import IGNORED
from deepmad_jax.train.step import LossFn, SumsFn

Batch = dict[str, jax.Array]


def make_loss_fn(graphdef: nnx.GraphDef) -> LossFn:
    """The sum of a segmenter's losses of a batch; each is a metric, and ``pixel_accuracy``."""

    def loss_fn(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> Any:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        images = on_canvas(batch["image"], batch["size"])
        keys = jax.random.wrap_key_data(batch["key"])
        values, right = net.losses(images, batch["label"], keys, key)
        moved_stats = nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))
        return sum(values.values()), (moved_stats, values | {"pixel_accuracy": right})

    return loss_fn


def make_judge_fn(graphdef: nnx.GraphDef, segment: SegmentConfig) -> SumsFn:
    """The class of every pixel of a batch of `masked.eval_batches`, at its label's size.

    Gives ``guess`` uint8 (b, H, W), of the label's canvas, ``confusion`` int32 (classes, classes),
    and the batch's ``index``, ``size`` and ``mask``.
    """

    def judge_fn(params: Any, batch_stats: Any, batch: Batch) -> dict[str, jax.Array]:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        views = []
        for i in range(len(segment.scales)):
            images = batch[f"image{i}"]
            height, width = images.shape[1:3]
            images = on_canvas(images, jnp.tile(jnp.array([[height, width]]), (len(images), 1)))
            views += views_of(net, images, batch["label"].shape, batch["size"], segment)
        guess, confusion = judge(views, batch["label"], batch["size"], batch["mask"] > 0, IGNORED)
        kept = {name: batch[name] for name in ("index", "size", "mask")}
        return kept | {"guess": guess, "confusion": confusion}

    return judge_fn


def views_of(
    net: Any,
    images: jax.Array,
    canvas: tuple[int, ...],
    sizes: jax.Array,
    segment: SegmentConfig,
) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """The image, and where the config says so its mirror image, as `judge` takes them.

    Args:
        net: images to logits.
        images: normalised, at one scale.
        canvas: the shape of the labels, (batch, H, W).
        sizes: of the labels on it, (batch, 2).
        segment: window, stride and mirrors.
    """
    down, across = (
        windows_along(side, segment.window, segment.stride) for side in images.shape[1:3]
    )
    views = []
    for mirrored in (False, True) if segment.mirrored else (False,):
        mosaic = mosaic_of(net, images[:, :, ::-1] if mirrored else images, down, across)
        rows = from_tiles(down, mosaic.shape[1] // len(down[0]))
        columns = from_tiles(across, mosaic.shape[2] // len(across[0]))
        views.append(
            (
                mosaic,
                at_label(rows, sizes[:, 0], canvas[1], False),
                at_label(columns, sizes[:, 1], canvas[2], mirrored),
            )
        )
    return views
