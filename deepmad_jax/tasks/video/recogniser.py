"""A network on frames of a video, and a classifier of the mean of its features.

TSN where the network is of images: the mean over pixels and frames comes before the classifier,
which is linear, so the logits of a video are the mean of those of its frames, and their order says
nothing. A network of clips sees ``arch.frames`` frames at a time, in their order; where there are
more, each clip has every n-th of them, so that every one spans the video, and the mean is over
clips.

Source: Wang et al. 2016, arXiv 1608.00859; mmaction2's TSNHead.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deepmad_jax.arch import Architecture
from deepmad_jax.config import Config
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.nets import Network
from deepmad_jax.nets.parts import Making, dense, drop_channels, normal
from deepmad_jax.tasks.backbone import take_pretrained
from deepmad_jax.tasks.classify.task import make_network


class Recogniser(nnx.Module):
    """Normalised frames ``(batch, frames, H, W, 3)`` to float32 logits ``(batch, classes)``.

    Args:
        net: of images or of clips; its classifier is not taken along.
        classes: how many.
        head_std: deviation of the classifier's first weights.
        dropout: probability of each of the mean features to be zeroed in training.
        seed: of the classifier's first weights.
    """

    def __init__(self, net: Network, classes: int, head_std: float, dropout: float, seed: int):
        self.net, self.dropout = net.without_classifier(), dropout
        width = net.feature_info[-1].channels
        # In float32 whatever the network computes in, as classifiers of images are.
        making = Making(np.random.default_rng(seed))
        self.classes = dense(making, width, classes, draw=normal(head_std))

    def __call__(
        self,
        frames: jax.Array,
        train: bool = False,
        keys: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """The logits; with ``train`` by the batch's statistics, and the running ones move.

        Args:
            frames: of any number; of a multiple of ``arch.frames`` for a network of clips.
            train: see above.
            keys: typed, one a video, for dropout; needed where it trains.
            key: for the network, where it draws.
        """
        means = self.features(self.seen(frames), train, key).mean(axis=1)
        if train and self.dropout:
            assert keys is not None
            means = drop_channels(means[:, None, None], self.dropout, keys)[:, 0, 0]
        return self.classes(means)

    def seen(self, frames: jax.Array) -> jax.Array:
        """What the network sees at a time: single frames, or clips ``(batch, clips, frames, ...)``.

        Args:
            frames: shape (batch, frames, ...).
        """
        length = self.net.arch.frames
        if not length:
            return frames
        batch, count = frames.shape[:2]
        clips = frames.reshape(batch, length, count // length, *frames.shape[2:])
        return jnp.moveaxis(clips, 2, 1)

    def features(
        self, seen: jax.Array, train: bool = False, key: jax.Array | None = None
    ) -> jax.Array:
        """What the classifier takes the mean of, float32 ``(batch, count, channels)``.

        Args:
            seen: images or clips, shape (batch, count, ...), see `seen`.
            train, key: as above.
        """
        flat = self.net(_side_by_side(seen), train, key)
        return flat.reshape(*seen.shape[:2], -1).astype(jnp.float32)

    def maps(
        self, seen: jax.Array, train: bool = False, key: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """What each level of the network ends in, of every image or clip by itself.

        Args:
            seen, train, key: as `features` has them; maps have a first axis of batch times count.
        """
        return self.net.features(_side_by_side(seen), train, key)


def _side_by_side(seen: jax.Array) -> jax.Array:
    return seen.reshape(-1, *seen.shape[2:])


def make_recogniser(arch: Architecture, config: Config, classes: int, fresh: bool) -> Recogniser:
    """The network of a run.

    Args:
        arch: of the backbone, whatever the number of its classes.
        config: of the run.
        classes: of the videos.
        fresh: its weights will be used; False leaves files of weights unread.
    Raises:
        InvalidConfig: weights of another architecture, or frames that make no whole clips.
        UserError: weights that cannot be read.
    """
    settings, video = config.train, config.video
    for field in ("segments", "test_segments"):
        frames = getattr(video, field)
        if arch.frames and frames % arch.frames:
            raise InvalidConfig(
                f"config.video.{field} is {frames}, but {arch.name} sees clips of {arch.frames} "
                "frames: set a multiple of it."
            )
    # The config's dropout is that of the videos' classifier, not of each frame.
    net: Any = make_network(arch, dataclasses.replace(settings, dropout=0.0))
    made = Recogniser(net, classes, video.head_std, settings.dropout, settings.seed)
    if video.pretrained is not None and fresh:
        take_pretrained(made.net, video.pretrained, "config.video.pretrained")
    return made
