"""Mixup, cutmix and random erasing, inside the compiled step.

Pure functions of the batch's keys, which the pipeline makes from (seed, place in the stream): the
same batch is mixed in the same way on any number of devices and after a restart.

Sources: mixup, arXiv 1710.09412; cutmix, arXiv 1905.04899; random erasing, arXiv 1708.04896; the
way they go together, and what the papers leave open, is timm's (timm/data/mixup.py in batch mode,
timm/data/random_erasing.py): one draw a batch mixes image i with image -1 - i, and erasing comes
last, after normalisation. timm's batch is that of one device; here ``mix_groups`` says how many
draws there are, so that the result does not depend on the number of devices. With a multiple of
these no image leaves its device to be mixed.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from deepmad_jax.config import DataConfig
from deepmad_jax.errors import InvalidConfig

MIXING, ERASING = 0, 1
"""Folded into a key, by purpose."""

ERASED_SHARE = (0.02, 1 / 3)
"""Range of the erased rectangle's share of the image."""

ERASED_ASPECT = (0.3, 1 / 0.3)
"""Range of its height over width, drawn evenly on a log scale."""

ERASING_ATTEMPTS = 10
"""Rectangles drawn until one fits; an image for which none does stays whole."""


def mix(
    keys: jax.Array, images: jax.Array, targets: jax.Array, config: DataConfig
) -> tuple[jax.Array, jax.Array]:
    """Images and targets, each mixed with those of the mirrored place in its group.

    Args:
        keys: uint32, shape (batch, 2); the first of each group is used.
        images: shape (batch, height, width, channels).
        targets: shape (batch, classes).
        config: ``mixup`` and ``cutmix``, at least one of them on, ``switch_probability`` and
            ``mix_groups``.

    Raises:
        InvalidConfig: the groups do not divide the batch.
    """
    groups = config.mix_groups
    if len(images) % groups:
        raise InvalidConfig(
            f"config.data.mix_groups is {groups}, which does not divide the {len(images)} images "
            "that are worked on at once (config.train.batch_size / accumulate_steps): give a "
            "divisor."
        )

    def mix_group(keys: jax.Array, images: jax.Array, targets: jax.Array) -> Any:
        key = jax.random.fold_in(jax.random.wrap_key_data(keys[0], impl="threefry2x32"), MIXING)
        kept = kept_share(key, images.shape[1], images.shape[2], config)[None, :, :, None]
        share = kept.mean()
        mixed = kept * images + (1 - kept) * images[::-1]
        return mixed, share * targets + (1 - share) * targets[::-1]

    if groups == 1:
        mixed: tuple[jax.Array, jax.Array] = mix_group(keys, images, targets)
        return mixed
    parts = (x.reshape(groups, -1, *x.shape[1:]) for x in (keys, images, targets))
    mixed_images, mixed_targets = jax.vmap(mix_group)(*parts)
    return mixed_images.reshape(images.shape), mixed_targets.reshape(targets.shape)


def kept_share(key: jax.Array, height: int, width: int, config: DataConfig) -> jax.Array:
    """How much of every pixel remains: the same everywhere (mixup), or 0 in a box (cutmix).

    Args:
        key: a JAX key.
        height, width: of the images, pixels.
        config: see `mix`.

    Returns:
        float32, shape (height, width). Its mean is the share of the target that remains.
    """
    switch, beta, place = jax.random.split(key, 3)
    if config.mixup and config.cutmix:
        boxed = jax.random.uniform(switch) < config.switch_probability
    else:
        boxed = jnp.asarray(config.cutmix > 0)
    # The alpha that is off is never used; 1 keeps its distribution defined.
    alpha = jnp.where(boxed, config.cutmix or 1.0, config.mixup or 1.0)
    share = jax.random.beta(beta, alpha, alpha)
    return jnp.where(boxed, 1.0 - _box(place, share, height, width), share)


def erase(keys: jax.Array, images: jax.Array, config: DataConfig) -> jax.Array:
    """Images of which some have a rectangle replaced by noise, or by the mean colour.

    Args:
        keys: uint32, shape (batch, 2), one an image.
        images: normalised, shape (batch, height, width, channels).
        config: ``random_erasing``, the probability, and ``erasing_fill``.
    """

    def erase_one(key: jax.Array, image: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), ERASING)
        place, noise = jax.random.split(key)
        erased = erased_area(place, image.shape[0], image.shape[1], config.random_erasing)
        # Normalised images have mean 0 and deviation 1.
        noisy = config.erasing_fill == "noise"
        fill = jax.random.normal(noise, image.shape, image.dtype) if noisy else 0.0
        return jnp.where(erased[..., None], fill, image)

    return jax.vmap(erase_one)(keys, images)


def erased_area(key: jax.Array, height: int, width: int, probability: float) -> jax.Array:
    """True inside the rectangle to erase, False everywhere in images that stay whole.

    Args:
        key: a JAX key.
        height, width: of the image, pixels.
        probability: of erasing.

    Returns:
        bool, shape (height, width).
    """
    happens, share, aspect, vertical, horizontal = jax.random.split(key, 5)
    attempts = (ERASING_ATTEMPTS,)
    low, high = ERASED_SHARE
    area = height * width * jax.random.uniform(share, attempts, minval=low, maxval=high)
    low, high = (math.log(limit) for limit in ERASED_ASPECT)
    ratio = jnp.exp(jax.random.uniform(aspect, attempts, minval=low, maxval=high))
    heights, widths = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
    fits = (heights < height) & (widths < width)
    first = jnp.argmax(fits)
    h, w = heights[first].astype(int), widths[first].astype(int)
    top = jax.random.randint(vertical, (), 0, height - h + 1)
    left = jax.random.randint(horizontal, (), 0, width - w + 1)
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (y >= top) & (y < top + h) & (x >= left) & (x < left + w)
    return inside & fits[first] & (jax.random.uniform(happens) < probability)


def _box(key: jax.Array, share: jax.Array, height: int, width: int) -> jax.Array:
    """1 in a box that would take 1 - share of the image were it not cut off at the borders."""
    vertical, horizontal = jax.random.split(key)
    side = jnp.sqrt(1 - share)

    def within(key: jax.Array, length: int) -> jax.Array:
        cut = (length * side).astype(int)
        centre = jax.random.randint(key, (), 0, length)
        place = jnp.arange(length)
        return (place >= centre - cut // 2) & (place < centre + (cut + 1) // 2)

    return (within(vertical, height)[:, None] & within(horizontal, width)).astype(jnp.float32)
