"""The functions over plain arrays that the engine compiles, made from a detector's graph."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.tasks.canvas import on_canvas
from deepmad_jax.tasks.detect.detector import Truth, total
from deepmad_jax.train.step import LossFn, SumsFn

Batch = dict[str, jax.Array]


def make_loss_fn(graphdef: nnx.GraphDef) -> LossFn:
    """The sum of a detector's losses of a batch, each of them a metric."""

    def loss_fn(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> Any:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        keys = jax.random.wrap_key_data(batch["key"])
        truth = Truth(batch["size"], batch["boxes"], batch["label"], keys, batch.get("masks"))
        values = net.losses(on_canvas(batch["image"], batch["size"]), truth, key)
        moved_stats = nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))
        return total(values), (moved_stats, values)

    return loss_fn


def make_detect_fn(graphdef: nnx.GraphDef) -> SumsFn:
    """What a detector finds in a batch, in pixels of the images before they were resized.

    ``boxes`` (b, limit, 4), ``scores``, ``labels`` and ``valid`` (b, limit), the batch's ``index``
    and ``mask``, and where there are masks ``masks`` (b, limit, s, s), probabilities in each box.
    """

    def detect_fn(params: Any, batch_stats: Any, batch: Batch) -> dict[str, jax.Array]:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        found, masks = net.detections(on_canvas(batch["image"], batch["size"]), batch["size"])
        ratio = jnp.tile(batch["ratio"][:, ::-1], 2)[:, None]
        out = {
            "boxes": found.boxes / ratio,
            "scores": found.scores,
            "labels": found.labels,
            "valid": found.valid,
            "index": batch["index"],
            "mask": batch["mask"],
        }
        return out if masks is None else out | {"masks": masks}

    return detect_fn
