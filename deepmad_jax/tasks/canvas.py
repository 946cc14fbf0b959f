"""Images of several sizes at the top left corner of canvases of one, as a network takes them."""

import jax
import jax.numpy as jnp

from deepmad_jax.data.dataset import IMAGENET_MEAN, IMAGENET_STD


def on_canvas(images: jax.Array, sizes: jax.Array) -> jax.Array:
    """uint8 images normalised, 0 around them: the mean of ImageNet, not black.

    Args:
        images: (b, H, W, 3).
        sizes: height and width of each image on its canvas, (b, 2).
    """
    mean, std = (255.0 * jnp.asarray(v, jnp.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))
    rows = jnp.arange(images.shape[1]) < sizes[:, :1]
    columns = jnp.arange(images.shape[2]) < sizes[:, 1:]
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(inside, (images.astype(jnp.float32) - mean) / std, 0.0)
