"""The functions over plain arrays that the engine compiles, made from a network.

The engine sees a network as two nested dicts, params and BatchNorm statistics, and the functions
made here from its graph; it never sees the module.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.config import DataConfig, TrainConfig
from deepmad_jax.data import Dataset
from deepmad_jax.tasks.classify.loss import cross_entropy, in_top, normalise, soft_targets
from deepmad_jax.tasks.classify.mixing import erase, mix
from deepmad_jax.tasks.classify.teacher import distilled, load_teacher
from deepmad_jax.train.gradients import LossFn, LossWithArrays
from deepmad_jax.train.look import Maps
from deepmad_jax.train.step import SumsFn

Batch = dict[str, jax.Array]


def make_loss_fn(
    graphdef: nnx.GraphDef, dataset: Dataset, config: DataConfig, train: TrainConfig
) -> LossFn:
    """The mean smoothed cross-entropy of a batch, with ``top1`` (a share) as a metric.

    Images are mixed and erased as ``config`` says; ``top1`` is then that of the class with the
    greater share. The loss function's key is for the network's dropout and stochastic depth.

    Args:
        graphdef: of a network whose call takes normalised images, ``train`` and ``key``.
        dataset: for its normalisation and number of classes.
        config: of mixing and erasing.
        train: ``label_smoothing``, and the teacher if there is one (see `teacher.py`).
    Raises:
        UserError: the teacher cannot be loaded.
    """
    teacher = load_teacher(train, dataset)

    def loss_fn(
        params: Any, batch_stats: Any, batch: Batch, key: jax.Array, teachers: Any = None
    ) -> Any:
        net = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        images, targets = _prepared(batch, dataset, config, train.label_smoothing)
        logits = net(images, train=True, key=key)
        moved_stats = nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))
        top1 = in_top(logits, targets.argmax(axis=-1), 1).mean()
        loss = cross_entropy(logits, targets)
        if teacher is not None:
            answers = teacher.answers(teachers, images)
            share = train.distillation_share
            loss = (1.0 - share) * loss + share * distilled(logits, answers, train)
        return loss.mean(), (moved_stats, {"top1": top1})

    return loss_fn if teacher is None else LossWithArrays(loss_fn, teacher.variables)


def make_seen_fn(dataset: Dataset, config: DataConfig) -> Callable[[Batch], jax.Array]:
    """The images that the network is given, mixed and erased, their normalisation undone."""

    def seen(batch: Batch) -> jax.Array:
        images, _ = _prepared(batch, dataset, config, smoothing=0.0)
        return images * jnp.asarray(dataset.std) + jnp.asarray(dataset.mean)

    return seen


def make_maps_fn(graphdef: nnx.GraphDef, dataset: Dataset, config: DataConfig) -> Maps:
    """The network's map at the end of each level, of a training pass, by its name."""

    def maps(params: Any, batch_stats: Any, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        net = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        images, _ = _prepared(batch, dataset, config, smoothing=0.0)
        found = net.features(images, train=True, key=key)
        names = [feature.name for feature in net.feature_info]
        return dict(zip(names, found, strict=True))

    return maps


def _prepared(
    batch: Batch, dataset: Dataset, config: DataConfig, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """The images that the network is given and what it is to say of them."""
    images = normalise(batch["image"], dataset.mean, dataset.std)
    targets = soft_targets(batch["label"], dataset.classes, smoothing)
    # Before erasing, as in timm: what is erased belongs to no class.
    if config.mixup or config.cutmix:
        images, targets = mix(batch["key"], images, targets, config)
    if config.random_erasing:
        images = erase(batch["key"], images, config)
    return images, targets


def make_sums_fn(
    graphdef: nnx.GraphDef, dataset: Dataset, sides_px: tuple[int, ...] = ()
) -> SumsFn:
    """Sums over the images of mask 1: ``loss`` (not smoothed), ``top1``, ``top5``, ``images``.

    Args:
        graphdef: of a network whose call takes normalised images and ``train``.
        dataset: for its normalisation and number of classes.
        sides_px: sizes to which the images are brought, none greater than theirs, and over which
            the probabilities are averaged; empty: as they come.
    """

    def sums_fn(params: Any, batch_stats: Any, batch: Batch) -> dict[str, jax.Array]:
        net = nnx.merge(graphdef, nnx.State(params), nnx.State(batch_stats))
        images = normalise(batch["image"], dataset.mean, dataset.std)
        if sides_px:
            logs = [jax.nn.log_softmax(net(_at(images, side), train=False)) for side in sides_px]
            # The log of the mean probability, which a softmax gives back as it is.
            logits = jax.nn.logsumexp(jnp.stack(logs), axis=0) - jnp.log(len(sides_px))
        else:
            logits = net(images, train=False)
        labels, mask = batch["label"], batch["mask"]
        targets = soft_targets(labels, dataset.classes, smoothing=0.0)
        return {
            "loss": (cross_entropy(logits, targets) * mask).sum(),
            "top1": (in_top(logits, labels, 1) * mask).sum(),
            "top5": (in_top(logits, labels, 5) * mask).sum(),
            "images": mask.sum(),
        }

    return sums_fn


def _at(images: jax.Array, side: int) -> jax.Array:
    """The images at a size of their own or a smaller one, antialiased."""
    shape = (images.shape[0], side, side, images.shape[3])
    return images if shape == images.shape else jax.image.resize(images, shape, "cubic")
