"""The maps of a pyramid as one list of places, coarse maps after fine ones, row by row."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Sizes = Sequence[tuple[int, int]]
"""Height and width of each map."""


def joined(maps: Sequence[jax.Array]) -> jax.Array:
    """Maps (batch, H_i, W_i, c) as float32 (batch, sum of H_i W_i, c)."""
    flat = [x.reshape(x.shape[0], -1, x.shape[-1]).astype(jnp.float32) for x in maps]
    return jnp.concatenate(flat, axis=1)


def sizes_of(maps: Sequence[jax.Array]) -> tuple[tuple[int, int], ...]:
    """Height and width of each map."""
    return tuple((x.shape[1], x.shape[2]) for x in maps)


def counts(sizes: Sizes) -> list[int]:
    """Places of each map."""
    return [height * width for height, width in sizes]


def grid(size: tuple[int, int], stride: int, offset: float) -> np.ndarray:
    """Places (x, y) = ((j + offset) stride, (i + offset) stride), float32 (H W, 2), row by row.

    >>> grid((1, 2), 8, 0.5).tolist()
    [[4.0, 4.0], [12.0, 4.0]]
    """
    rows, columns = np.mgrid[: size[0], : size[1]]
    places = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    return ((places + offset) * stride).astype(np.float32)


def per_place(values: Sequence[float], sizes: Sizes) -> np.ndarray:
    """One value a map as one value a place, float32."""
    return np.repeat(np.asarray(values, np.float32), counts(sizes))


def inside_maps(sizes: Sizes, strides: Sequence[int], filled: jax.Array) -> list[jax.Array]:
    """Of each map, the pixels that belong to an image rather than to the canvas around it.

    Args:
        sizes, strides: of the maps.
        filled: height and width of the images, padding to a multiple of 32 included, (batch, 2).

    Returns:
        Boolean, shapes (batch, H_i, W_i, 1).
    """
    masks = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        rows = jnp.arange(height) * stride < filled[:, :1]
        columns = jnp.arange(width) * stride < filled[:, 1:]
        masks.append((rows[:, :, None] & columns[:, None, :])[..., None])
    return masks
