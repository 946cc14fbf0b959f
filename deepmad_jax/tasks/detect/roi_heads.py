"""What is said of each proposal: its class, a better box, and its mask; and the losses of that.

Source: He et al. 2017 (arXiv 1703.06870) and Cai and Vasconcelos 2018 (arXiv 1712.00726), as
mmdetection has them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from deepmad_jax.nets.parts import (
    Making,
    conv,
    dense,
    he_by_fan_out,
    normal,
    transposed_conv,
    xavier_uniform,
)
from deepmad_jax.tasks.detect import boxes as b
from deepmad_jax.tasks.detect import losses

BOX_BINS, MASK_BINS = 7, 14
"""Sides of the grids that RoIAlign gives for boxes and for masks."""

MASK_PX = 2 * MASK_BINS


@dataclasses.dataclass(frozen=True)
class BoxCode:
    """How a box head's deltas are meant.

    Attributes:
        stds: units of dx, dy, dw, dh.
        per_class: four numbers a class, or else four in all.
        beta: of smooth L1; 0 is L1.
    """

    stds: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    per_class: bool = True
    beta: float = 0.0


CASCADE_CODES = tuple(
    BoxCode(stds, per_class=False, beta=1.0)
    for stds in (
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    )
)


class BoxHead(nnx.Module):
    """Grids (n, 7, 7, c) to class logits (n, classes + 1), background last, and deltas, float32.

    Deltas have shape (n, classes, 4), or (n, 1, 4) where the code is not per class.
    """

    def __init__(
        self,
        c_in: int,
        classes: int,
        making: Making,
        *,
        width: int = 1024,
        code: BoxCode = BoxCode(),
    ):
        self.code = code
        self.hidden = nnx.List(
            [
                dense(making, size, width, draw=xavier_uniform)
                for size in (BOX_BINS**2 * c_in, width)
            ]
        )
        self.classes = dense(making, width, classes + 1, draw=normal(0.01))
        boxes = classes if code.per_class else 1
        self.deltas = dense(making, width, 4 * boxes, draw=normal(0.001))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits and deltas."""
        x = x.reshape(len(x), -1)
        for layer in self.hidden:
            x = jax.nn.relu(layer(x))
        deltas = self.deltas(x).astype(jnp.float32)
        return self.classes(x).astype(jnp.float32), deltas.reshape(len(x), -1, 4)


class MaskHead(nnx.Module):
    """Grids (n, 14, 14, c) to mask logits (n, 28, 28, classes), float32."""

    def __init__(
        self, c_in: int, classes: int, making: Making, *, width: int = 256, depth: int = 4
    ):
        self.convs = nnx.List(
            [conv(making, width if i else c_in, width, 3, draw=he_by_fan_out) for i in range(depth)]
        )
        self.larger = transposed_conv(making, width, width, draw=he_by_fan_out)
        self.logits = conv(making, width, classes, 1, draw=he_by_fan_out)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of every class."""
        for layer in self.convs:
            x = jax.nn.relu(layer(x))
        return self.logits(jax.nn.relu(self.larger(x))).astype(jnp.float32)


def box_losses(
    logits: jax.Array,
    deltas: jax.Array,
    rois: jax.Array,
    labels: jax.Array,
    targets: jax.Array,
    counted: jax.Array,
    code: BoxCode,
) -> dict[str, jax.Array]:
    """``loss_class`` and ``loss_box`` of n proposals, both divided by how many count.

    Args:
        logits, deltas: of `BoxHead`.
        rois: the proposals, shape (n, 4).
        labels: class of each; the number of classes is background.
        targets: the box that a positive one is to become, shape (n, 4).
        counted: boolean (n,): the others fill the array up.
        code: of the head.
    """
    background = logits.shape[-1] - 1
    number = jnp.maximum(counted.sum(), 1)
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    positive = counted & (labels < background)
    wanted = b.encode(*_apart(rois, targets, positive), code.stds)
    own = labels.clip(max=background - 1) if code.per_class else jnp.zeros_like(labels)
    shift = jnp.take_along_axis(deltas, own[:, None, None], axis=1)[:, 0] - wanted
    box = losses.smooth_l1(shift, code.beta).sum(-1) * positive
    return {"loss_class": (entropy * counted).sum() / number, "loss_box": box.sum() / number}


def mask_loss(
    logits: jax.Array, targets: jax.Array, labels: jax.Array, positive: jax.Array
) -> jax.Array:
    """Mean binary cross-entropy of the true class's masks over the positive proposals.

    Args:
        logits: of `MaskHead`.
        targets: 0 or 1, shape (n, 28, 28).
        labels, positive: class of each, and which count, shape (n,).
    """
    own = labels.clip(0, logits.shape[-1] - 1)[:, None, None, None]
    logits = jnp.take_along_axis(logits, own, axis=-1)[..., 0]
    per_mask = losses.binary_cross_entropy(logits, targets).mean((1, 2))
    return (per_mask * positive).sum() / jnp.maximum(positive.sum(), 1)


def _apart(rois: jax.Array, targets: jax.Array, positive: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Boxes of which no side is 0 where they do not count: their logs are finite."""
    unit = jnp.array([0.0, 0.0, 1.0, 1.0])
    rois = jnp.where(positive[:, None], rois, unit)
    return rois, jnp.where(positive[:, None], targets, unit)
