"""Two branches of convs, GroupNorm and ReLU on every map of a pyramid: what dense heads share."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.nets.parts import GroupNorm, Making, conv, normal

HEAD_STD = 0.01
"""Of every kernel's initial values in a dense head."""


class Branch(nnx.Module):
    """``depth`` times 3x3 conv, GroupNorm, ReLU; the map keeps its size.

    Args:
        c_in, width: channels of the map and of the branch.
        depth: convs.
        groups: of GroupNorm.
        bias: whether the convs have biases, though a norm follows.
        making: how the convs are made.
    """

    def __init__(self, c_in: int, width: int, depth: int, groups: int, bias: bool, making: Making):
        self.convs = nnx.List(
            [
                conv(
                    making,
                    c_in if i == 0 else width,
                    width,
                    3,
                    draw=normal(HEAD_STD),
                    bias=0.0 if bias else None,
                )
                for i in range(depth)
            ]
        )
        self.norms = nnx.List([GroupNorm(width, groups) for _ in range(depth)])

    def __call__(self, x: jax.Array, inside: jax.Array | None = None) -> jax.Array:
        """The branch's last map; ``inside`` as `GroupNorm` has it."""
        for conv_, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.relu(norm(conv_(x), inside))
            # Zeros around the image, as its edge would have: the canvas changes nothing.
            x = x if inside is None else jnp.where(inside, x, 0)
        return x


def masks_or_none(
    maps: Sequence[jax.Array], inside: Sequence[jax.Array] | None
) -> Sequence[jax.Array | None]:
    """``inside``, or a None for every map."""
    return [None] * len(maps) if inside is None else inside
