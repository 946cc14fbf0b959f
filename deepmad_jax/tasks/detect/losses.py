"""Losses of single places: focal, quality focal, distribution focal, IoU and GIoU; no sums.

All float32; logarithms are of probabilities that are kept away from 0 as PyTorch keeps them.
"""

import jax
import jax.numpy as jnp
import optax

from deepmad_jax.tasks.detect import boxes as b

LEAST_LOG = -100.0
"""Where PyTorch's binary cross-entropy cuts the logarithm of a probability."""


def binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Of probabilities given by logits; elementwise."""
    return optax.sigmoid_binary_cross_entropy(logits, targets)


def focal(logits: jax.Array, targets: jax.Array, alpha: float, gamma: float) -> jax.Array:
    """``alpha_t (1 - p_t)^gamma (-log p_t)``, elementwise (Lin et al. 2017, arXiv 1708.02002).

    Args:
        logits: any shape.
        targets: 0 or 1, of that shape.
        alpha: weight of the ones; of the zeros it is 1 - alpha.
        gamma: how strongly what is right already is discounted.
    """
    p = jax.nn.sigmoid(logits)
    missing = jnp.where(targets > 0, 1.0 - p, p)
    weight = jnp.where(targets > 0, alpha, 1.0 - alpha) * missing**gamma
    return weight * binary_cross_entropy(logits, targets)


def quality_focal(p: jax.Array, targets: jax.Array) -> jax.Array:
    """``(y - p)^2 BCE(p, y)``, elementwise (GFL, arXiv 2006.04388, Eq. 2, beta = 2).

    Args:
        p: probabilities, any shape.
        targets: y in [0, 1], of that shape.
    """
    return jnp.square(targets - p) * _cross_entropy_of_probability(p, targets)


def distribution_focal(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Cross-entropy on the two bins next to a real number (the same, Eq. 6).

    Args:
        logits: shape (..., bins).
        targets: shape (...), at least 0 and less than bins - 1.
    """
    log_p = jax.nn.log_softmax(logits)
    left = jnp.floor(targets)
    near = jnp.arange(logits.shape[-1]) - left[..., None]
    share = jnp.where(near == 0, (left + 1 - targets)[..., None], 0.0)
    share = jnp.where(near == 1, (targets - left)[..., None], share)
    return -(share * log_p).sum(-1)


def log_iou(boxes: jax.Array, targets: jax.Array) -> jax.Array:
    """``-log max(IoU, 1e-6)`` of aligned boxes (UnitBox, arXiv 1608.01471)."""
    return -jnp.log(jnp.maximum(b.iou(boxes, targets), b.EPSILON))


def giou(boxes: jax.Array, targets: jax.Array) -> jax.Array:
    """``1 - GIoU`` of aligned boxes."""
    return 1.0 - b.giou(boxes, targets)


def smooth_l1(difference: jax.Array, beta: float) -> jax.Array:
    """``|x| - beta / 2`` from ``beta`` on, ``x^2 / (2 beta)`` below; beta 0 is ``|x|``."""
    size = jnp.abs(difference)
    if beta == 0:
        return size
    return jnp.where(size < beta, 0.5 * jnp.square(size) / beta, size - 0.5 * beta)


def _cross_entropy_of_probability(p: jax.Array, targets: jax.Array) -> jax.Array:
    tiny = jnp.finfo(jnp.float32).tiny
    log_p = jnp.maximum(jnp.log(jnp.maximum(p, tiny)), LEAST_LOG)
    log_q = jnp.maximum(jnp.log(jnp.maximum(1.0 - p, tiny)), LEAST_LOG)
    return -(targets * log_p + (1.0 - targets) * log_q)
