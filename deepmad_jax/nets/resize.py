"""Maps made larger and smaller by matrices: bilinear resizing, and means over a grid of parts.

Both act on rows and columns in turn, so each is two small matrix products, which accelerators do
well and whose gradient is two more. Half-pixel centres, nothing smoothed, as PyTorch's
``interpolate(align_corners=False)``; parts that may share a row, as its ``AdaptiveAvgPool2d``.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

PRECISION = jax.lax.Precision.HIGHEST
"""Of the products: a label is an argmax, and should not hang on a rounding."""


def taps(positions: jax.Array, size: int) -> jax.Array:
    """Weights of ``size`` pixels at places between their centres, shape (..., size).

    A place off the row takes the pixel at its end.

    >>> taps(jnp.array([-0.25, 0.25, 1.75]), 3)
    Array([[1.  , 0.  , 0.  ],
           [0.75, 0.25, 0.  ],
           [0.  , 0.25, 0.75]], dtype=float32)
    """
    positions = jnp.clip(positions, 0.0, size - 1.0)[..., None]
    return jnp.maximum(0.0, 1.0 - jnp.abs(positions - jnp.arange(size, dtype=jnp.float32)))


def interpolation(new: int, old: int) -> np.ndarray:
    """The bilinear matrix (new, old) from a row of ``old`` pixels to one of ``new``, float32."""
    return resize_weights(old, new, "bilinear").astype(np.float32)


def resize_weights(n_in: int, n_out: int, method: str) -> np.ndarray:
    """Matrix (n_out, n_in) that resizes one axis as PyTorch's ``interpolate`` does.

    Half-pixel centres, the edge repeated, no antialiasing; ``bicubic`` with a = -0.75.
    """
    centres = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    matrix = np.zeros((n_out, n_in))
    for i, centre in enumerate(centres):
        if method == "bilinear":
            centre = max(centre, 0.0)
        first = math.floor(centre)
        for place in range(first - 1, first + 3):
            distance = abs(centre - place)
            weight = max(1.0 - distance, 0.0) if method == "bilinear" else _cubic(distance)
            matrix[i, min(max(place, 0), n_in - 1)] += weight
    return matrix


def averaging(parts: int, size: int) -> np.ndarray:
    """The matrix (parts, size) of means over ``parts`` nearly equal parts of a row, float32.

    >>> averaging(2, 3)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    starts = np.arange(parts) * size // parts
    ends = -(-(np.arange(1, parts + 1) * size) // parts)
    places = np.arange(size)
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def by_matrices(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """The map (batch, H, W, channels) with its rows and columns made others, of ``x``'s dtype."""
    down, across = (jnp.asarray(matrix, x.dtype) for matrix in (rows, columns))
    x = jnp.einsum("ih,bhwc->biwc", down, x, precision=PRECISION)
    return jnp.einsum("jw,biwc->bijc", across, x, precision=PRECISION)


def resized(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The map at ``size``, bilinear."""
    height, width = x.shape[1:3]
    if (height, width) == size:
        return x
    return by_matrices(x, interpolation(size[0], height), interpolation(size[1], width))


def pooled(x: jax.Array, side: int) -> jax.Array:
    """Means over ``side`` by ``side`` parts of the map, shape (batch, side, side, channels)."""
    return by_matrices(x, averaging(side, x.shape[1]), averaging(side, x.shape[2]))


def _cubic(distance: float, a: float = -0.75) -> float:
    """Keys's kernel of cubic convolution."""
    if distance <= 1.0:
        return ((a + 2.0) * distance - (a + 3.0)) * distance**2 + 1.0
    return a * (((distance - 5.0) * distance + 8.0) * distance - 4.0) if distance < 2.0 else 0.0
