"""What every detector gives to the task, and what it is given."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from deepmad_jax.tasks.detect.nms import Detections

DIVISOR = 32
"""Images count as filled up to a multiple of so many pixels, as they were padded in mmdetection."""


class Truth(NamedTuple):
    """What is to be found in a batch.

    Attributes:
        sizes: height and width of each image on its canvas, int32 (b, 2).
        boxes: shape (b, m, 4).
        labels: shape (b, m); negative marks padding.
        keys: of random numbers, typed, one an image, shape (b,).
        masks: each object in the square that its box becomes, (b, m, s, s), or None.
    """

    sizes: jax.Array
    boxes: jax.Array
    labels: jax.Array
    keys: jax.Array
    masks: jax.Array | None


class Detector(Protocol):
    """A network that finds boxes.

    Images are normalised, zeros around them on their canvas, shape (b, H, W, 3).
    """

    def losses(
        self, images: jax.Array, truth: Truth, key: jax.Array | None
    ) -> dict[str, jax.Array]:
        """Scalars by name, whose sum is minimised; ``key`` is for the backbone."""
        ...

    def detections(
        self, images: jax.Array, sizes: jax.Array
    ) -> tuple[Detections, jax.Array | None]:
        """Boxes on the canvas, and masks in them, probabilities (b, limit, s, s), or None."""
        ...


def filled(sizes: jax.Array) -> jax.Array:
    """Sizes with their padding to a multiple of `DIVISOR`."""
    return -(-sizes // DIVISOR) * DIVISOR


def total(values: dict[str, jax.Array]) -> jax.Array:
    """The sum of losses."""
    return jnp.sum(jnp.stack(list(values.values())))
