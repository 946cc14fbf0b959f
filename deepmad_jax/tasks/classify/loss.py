"""What a classifier is trained on and judged by; pure functions that run inside the compiled step.

Cross-entropy against labels smoothed by s over K classes: the target is ``1 - s + s / K`` for the
label and ``s / K`` for every other class. Loss and accuracies are float32 whatever the network
computes in.
"""

import jax
import jax.numpy as jnp
import optax


def normalise(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """float32 images around 0, shape as given.

    Args:
        images: uint8, shape (batch, height, width, channels).
        mean, std: per channel, of values in [0, 1].
    """
    scaled = images.astype(jnp.float32) / 255.0
    return (scaled - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def soft_targets(labels: jax.Array, classes: int, smoothing: float) -> jax.Array:
    """The smoothed target of every image, shape (batch, classes), rows of sum 1.

    Args:
        labels: integers, shape (batch,).
        classes: K.
        smoothing: s, the share spread evenly over the classes.
    """
    return optax.smooth_labels(jax.nn.one_hot(labels, classes), smoothing)


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """The loss of every image, nats, shape (batch,); both arguments have shape (batch, classes)."""
    return optax.softmax_cross_entropy(logits, targets)


def in_top(logits: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """1.0 where the label is among the k largest logits, else 0.0; shape (batch,).

    With fewer than k classes, all of them count.
    """
    # Not by counting larger logits: with NaN none is larger, and every image would be right.
    _, best = jax.lax.top_k(logits, min(k, logits.shape[-1]))
    return jnp.any(best == labels[:, None], axis=-1).astype(jnp.float32)
