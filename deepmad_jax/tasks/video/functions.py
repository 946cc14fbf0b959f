"""The functions over plain arrays that the engine compiles, made from a recogniser's graph."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.config import TrainConfig, VideoConfig
from deepmad_jax.data.dataset import IMAGENET_MEAN, IMAGENET_STD
from deepmad_jax.tasks.classify.loss import cross_entropy, in_top, normalise, soft_targets
from deepmad_jax.train.look import Maps
from deepmad_jax.train.step import LossFn, SumsFn

Batch = dict[str, jax.Array]

ONE_BY_ONE = {"cpu": False, "gpu": True, "tpu": True}
"""Whether the frames or clips of a judged video go through the network one after the other.

All 250 images of ten crops of 25 frames at once take gigabytes for each video; on CPUs XLA runs
convs in loops several times slower (`nets.stage`).
"""


def make_loss_fn(graphdef: nnx.GraphDef, train: TrainConfig) -> LossFn:
    """The mean cross entropy of a batch of clips, ``top1`` as a metric."""

    def loss_fn(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> Any:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        keys = jax.random.wrap_key_data(batch["key"])
        logits = net(normalised(batch["clip"]), True, keys, key)
        moved_stats = nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))
        targets = soft_targets(batch["label"], logits.shape[-1], train.label_smoothing)
        loss = cross_entropy(logits, targets).mean()
        return loss, (moved_stats, {"top1": in_top(logits, batch["label"], 1).mean()})

    return loss_fn


def make_maps_fn(graphdef: nnx.GraphDef) -> Maps:
    """The maps of a recogniser's network of a training pass: of all frames or clips of a batch."""

    def maps(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        found = net.maps(net.seen(normalised(batch["clip"])), True, key)
        names = [feature.name for feature in net.net.feature_info]
        return dict(zip(names, found, strict=True))

    return maps


def make_score_fn(
    graphdef: nnx.GraphDef, video: VideoConfig, one_by_one: bool | None = None
) -> SumsFn:
    """The log probabilities of a batch of `clips.eval_batches`, float32 ``scores`` (b, classes).

    Gives the batch's ``index``, ``label`` and ``mask`` too.

    Args:
        graphdef: of a `Recogniser`.
        video: what views there are, and how they are averaged.
        one_by_one: see `ONE_BY_ONE`; None is by backend.
    """
    if one_by_one is None:
        one_by_one = ONE_BY_ONE.get(jax.default_backend(), True)

    def score_fn(params: Any, batch_stats: Any, batch: Batch) -> dict[str, jax.Array]:
        net: Any = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        # Frames, or clips of them, first; then videos, then views.
        seen = jnp.moveaxis(net.seen(batch["clip"]), (1, -4), (0, 2))

        def features(views: jax.Array) -> jax.Array:
            """Of one frame or clip of each video: ``(b, views, channels)``."""
            if video.test_crops == "ten":
                views = jnp.concatenate([views, views[..., ::-1, :]], axis=1)
            return net.features(normalised(views))

        if one_by_one:
            means = jax.lax.map(features, seen).mean(axis=0)
        else:
            count, size = seen.shape[:2]
            found = features(seen.reshape(count * size, *seen.shape[2:]))
            means = found.reshape(count, size, *found.shape[1:]).mean(axis=0)
        scores = consensus(net.classes(means), video.average)
        return {name: batch[name] for name in ("index", "label", "mask")} | {"scores": scores}

    return score_fn


def consensus(logits: jax.Array, average: str) -> jax.Array:
    """Log probabilities of a video ``(batch, classes)`` from logits ``(batch, views, classes)``.

    Args:
        logits: of each view.
        average: ``logits`` or ``probabilities``, over the views.
    """
    if average == "logits":
        return jax.nn.log_softmax(logits.mean(axis=1))
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=1) - jnp.log(logits.shape[1])


def normalised(images: jax.Array) -> jax.Array:
    """uint8 images as the network takes them."""
    return normalise(images, IMAGENET_MEAN, IMAGENET_STD)
