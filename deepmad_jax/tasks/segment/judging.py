"""Logits of an image at several sizes, whole or window by window, to one class for every pixel.

Everything between a network's logits and those of an image's own pixels is linear and acts on rows
and columns apart: logits are made as large as what the network saw; windows are laid side by side,
and where they overlap averaged; the whole is made as large as the label. So the logits of all
windows, put together like tiles in one mosaic, and two matrices say it all: ``rows @ mosaic @
columns^T``. They are built from the label's size, which is a number and no shape, and applied to a
few rows of pixels at a time: an image of any size is judged by one compiled program, in little
memory.

Source: mmsegmentation's whole and sliding inference, and its averages over scales and mirrors.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.nets.resize import PRECISION, interpolation, taps

ROWS = 16
"""Of the label that are judged at a time."""

Axis = tuple[tuple[int, ...], int, int]
"""Where windows start along an axis, their length, and that of the image; pixels."""


def windows_along(length: int, window: int, stride: int) -> Axis:
    """The windows of one axis: as few as overlap enough, the last one moved back inside.

    Args:
        length: of the image.
        window: 0 takes it whole, as does one that is longer.
        stride: from one to the next, at most.

    >>> windows_along(683, 512, 341)
    ((0, 171), 512, 683)
    """
    if not window or window >= length:
        return (0,), length, length
    count = -(-(length - window) // stride) + 1
    starts = tuple(min(i * stride, length - window) for i in range(count))
    return starts, window, length


def mosaic_of(
    run: Callable[[jax.Array], jax.Array], images: jax.Array, down: Axis, across: Axis
) -> jax.Array:
    """The logits of all windows of each image as tiles, shape (batch, n h, m w, classes).

    Args:
        run: images of the windows' size to logits (batch, h, w, classes).
        images: (batch, H, W, channels).
        down, across: windows of rows and of columns, n and m.
    """
    (tops, height, _), (lefts, width, _) = down, across
    if len(tops) == len(lefts) == 1:
        return run(images)
    corners = jnp.array([(top, left) for top in tops for left in lefts])

    def one(corner: jax.Array) -> jax.Array:
        start = (0, corner[0], corner[1], 0)
        size = (images.shape[0], height, width, images.shape[-1])
        return run(jax.lax.dynamic_slice(images, start, size))

    tiles = jax.lax.map(one, corners)
    _, batch, h, w, classes = tiles.shape
    tiles = tiles.reshape(len(tops), len(lefts), batch, h, w, classes)
    return tiles.transpose(2, 0, 3, 1, 4, 5).reshape(batch, len(tops) * h, len(lefts) * w, classes)


def from_tiles(axis: Axis, tile: int) -> np.ndarray:
    """The matrix from an axis of the mosaic to the image's pixels, (length, windows * tile)."""
    starts, window, length = axis
    inside = np.zeros((len(starts), length), np.float32)
    for place, start in enumerate(starts):
        inside[place, start : start + window] = 1.0
    larger = interpolation(window, tile)
    parts = np.zeros((length, len(starts), tile), np.float32)
    for place, start in enumerate(starts):
        parts[start : start + window, place] = larger
    return parts.reshape(length, -1) / inside.sum(0)[:, None]


def at_label(matrix: np.ndarray, sizes: jax.Array, canvas: int, mirrored: bool) -> jax.Array:
    """The matrix from an axis of the mosaic to the label's pixels, (batch, canvas, tiles).

    Args:
        matrix: of `from_tiles`.
        sizes: the label's length along the axis, (batch,); beyond it nothing is meant.
        canvas: rows or columns that are asked for.
        mirrored: the image was.
    """
    length = matrix.shape[0]
    sizes = sizes[:, None].astype(jnp.float32)
    pixels = jnp.arange(canvas, dtype=jnp.float32)
    pixels = sizes - 1.0 - pixels if mirrored else pixels
    centres = (pixels + 0.5) * length / sizes - 0.5
    return jnp.einsum("bil,lm->bim", taps(centres, length), matrix, precision=PRECISION)


def judge(
    views: Sequence[tuple[jax.Array, jax.Array, jax.Array]],
    labels: jax.Array,
    sizes: jax.Array,
    counted: jax.Array,
    ignored: int,
) -> tuple[jax.Array, jax.Array]:
    """Each pixel's most probable class, uint8 of the labels' shape, and the table of confusions.

    Args:
        views: each a mosaic (batch, M, N, classes) and its matrices to the labels' rows (batch, H,
            M) and columns (batch, W, N); their probabilities are averaged.
        labels: (batch, H, W), H a multiple of `ROWS`.
        sizes: of the labels on their canvas, (batch, 2).
        counted: images that are, boolean (batch,).
        ignored: label of pixels that are not.

    Returns:
        The classes, and int32 (classes, classes): row the label, column what was found.
    """
    batch, _, width = labels.shape
    classes = views[0][0].shape[-1]

    def some_rows(
        place: jax.Array, found: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        guesses, table = found
        top = place * ROWS
        total = jnp.zeros((batch, ROWS, width, classes))
        for mosaic, rows, columns in views:
            own = jax.lax.dynamic_slice_in_dim(rows, top, ROWS, 1)
            x = jnp.einsum("bim,bmnk->bink", own, mosaic, precision=PRECISION)
            x = jnp.einsum("bjn,bink->bijk", columns, x, precision=PRECISION)
            # Of one view the softmax decides nothing.
            total += jax.nn.softmax(x) if len(views) > 1 else x
        best = total.argmax(-1).astype(jnp.int32)
        label = jax.lax.dynamic_slice_in_dim(labels, top, ROWS, 1).astype(jnp.int32)
        known = (label != ignored) & counted[:, None, None]
        # Where nothing counts: past the table's end, and dropped.
        cell = jnp.where(known, label * classes + best, classes * classes)
        table = table.at[cell.ravel()].add(1, mode="drop")
        guesses = jax.lax.dynamic_update_slice_in_dim(guesses, best.astype(jnp.uint8), top, 1)
        return guesses, table

    # As many rows as the tallest label has, not as its canvas.
    last = -(-jnp.max(sizes[:, 0]) // ROWS)
    empty = jnp.zeros(labels.shape, jnp.uint8), jnp.zeros(classes * classes, jnp.int32)
    guesses, table = jax.lax.fori_loop(0, last, some_rows, empty)
    return guesses, table.reshape(classes, classes)
