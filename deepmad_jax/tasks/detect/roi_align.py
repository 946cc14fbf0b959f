"""RoIAlign: the part of a map inside a box, averaged into a grid of fixed size.

The mean over a bin's samples of bilinear interpolations is a product of one mean along each axis:
``out[p, q] = sum_ij Y[p, i] X[q, j] map[i, j]``. So each box needs two small matrices, whatever the
number of samples, and the rest is matrix products. Boxes get no gradient.

Source: He et al. 2017 (arXiv 1703.06870), section 3, as mmcv computes it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

AT_A_TIME = 32
"""Boxes worked on together: each takes a whole map's width of memory."""

FINEST_PX = 56
"""Side of a box, root of its area, from which on it is read off the second map."""


def roi_align(
    x: jax.Array,
    rois: jax.Array,
    out: int,
    scale: float,
    *,
    samples: int = 0,
    aligned: bool = True,
) -> jax.Array:
    """Of each box an ``(out, out, channels)`` grid, shape (n, out, out, channels).

    Args:
        x: one image's map, shape (H, W, channels).
        rois: boxes in pixels of the image, shape (n, 4).
        out: bins along each side.
        scale: map pixels per image pixel.
        samples: along each side of a bin; 0 is one for every map pixel, rounded up.
        aligned: image and map are laid on each other by their corners, not pixel centres.
    """
    weights = _weights(x.shape, rois, out, scale, samples, aligned)
    return _weighted(x, *weights)


def from_pyramid(maps: Sequence[jax.Array], rois: jax.Array, out: int, finest: int) -> jax.Array:
    """`roi_align` of each box on the map that suits its size.

    Args:
        maps: of one image, finest first, each half as large as the one before.
        rois: boxes in pixels of the image, shape (n, 4).
        out: bins along each side.
        finest: stride of the first map.
    """
    level = level_of(rois, len(maps))
    total: jax.Array | float = 0.0
    for i, x in enumerate(maps):
        rows, columns = _weights(x.shape, rois, out, 1.0 / (finest * 2**i), 0, True)
        rows = rows * (level == i)[:, None, None]
        total += _weighted(x, rows, columns)
    return jnp.asarray(total)


def level_of(rois: jax.Array, num_maps: int) -> jax.Array:
    """Place of the map that each box is read off: twice the side, one map further."""
    sides = jnp.maximum(rois[:, 2:] - rois[:, :2], 0.0)
    level = jnp.floor(jnp.log2(jnp.sqrt(sides.prod(-1)) / FINEST_PX + 1e-6))
    return jnp.clip(level, 0, num_maps - 1).astype(jnp.int32)


def _weights(
    shape: tuple[int, ...],
    rois: jax.Array,
    out: int,
    scale: float,
    samples: int,
    aligned: bool,
) -> tuple[jax.Array, jax.Array]:
    """Y and X of each box, shapes (n, out, H) and (n, out, W)."""
    corners = jax.lax.stop_gradient(rois) * scale - (0.5 if aligned else 0.0)
    start, sides = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = jnp.maximum(sides, 1.0)
    rows = _along_axis(start[:, 1], sides[:, 1], out, shape[0], samples)
    return rows, _along_axis(start[:, 0], sides[:, 0], out, shape[1], samples)


def _along_axis(start: jax.Array, side: jax.Array, out: int, size: int, samples: int) -> jax.Array:
    """Weights of ``size`` pixels in the mean over each bin's samples, shape (n, out, size)."""
    step = side / out
    number = jnp.full(side.shape, float(samples)) if samples else jnp.ceil(step)
    first = start[:, None] + jnp.arange(out) * step[:, None]
    pixels = jnp.arange(size, dtype=jnp.float32)

    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        place = first + ((i + 0.5) * step / jnp.maximum(number, 1.0))[:, None]
        # A pixel's width around the map its edge counts on; farther out is nothing.
        counts = (place >= -1.0) & (place <= size) & (i < number)[:, None]
        place = jnp.clip(place, 0.0, size - 1)
        tent = jnp.maximum(0.0, 1.0 - jnp.abs(place[..., None] - pixels))
        return total + jnp.where(counts[..., None], tent, 0.0)

    most = number.max().astype(jnp.int32)
    total = jax.lax.fori_loop(0, most, add, jnp.zeros((*first.shape, size)))
    return total / jnp.maximum(number, 1.0)[:, None, None]


def _weighted(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    def one(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        y, z = weights
        # By rows first: ``out`` of them are left, then by columns.
        return jnp.einsum(
            "qw,pwc->pqc", z.astype(x.dtype), jnp.einsum("ph,hwc->pwc", y.astype(x.dtype), x)
        )

    if len(rows) <= AT_A_TIME:
        return jax.vmap(one)((rows, columns))
    return jax.lax.map(one, (rows, columns), batch_size=AT_A_TIME)
