"""Cross entropy of pixels, as mmsegmentation averages it."""

import jax
import jax.numpy as jnp

from deepmad_jax.data.pairs import IGNORED
from deepmad_jax.nets.resize import resized


def pixel_loss(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean cross entropy of all pixels, and the share of labelled ones that are right.

    Pixels without a class add nothing to the sum but count in the divisor, as they do there.

    Args:
        logits: (batch, h, w, classes), float32; resized to the labels' size.
        labels: (batch, H, W); `IGNORED` marks pixels without a class.
    """
    logits = resized(logits, (labels.shape[1], labels.shape[2]))
    known = labels != IGNORED
    wanted = jnp.where(known, labels, 0).astype(jnp.int32)
    # By comparison, not by gathering: that fuses, and its gradient scatters nothing.
    mine = jnp.arange(logits.shape[-1]) == wanted[..., None]
    picked = jnp.where(mine, logits, 0.0).sum(-1)
    entropy = jax.nn.logsumexp(logits, axis=-1) - picked
    right = known & (logits.argmax(-1) == wanted)
    share = right.sum() / jnp.maximum(known.sum(), 1)
    return jnp.where(known, entropy, 0.0).mean(), share
