"""Arrays of a stage's equal blocks, held one by one in place of stacked.

The state of a network stacks them (`deepmad_jax/nets/stage.py`), and so it is saved, split over
devices and scanned. A program that runs the blocks one by one must cut every stack and put the
gradients together again: each is a copy, which took a twentieth of DeepMAD-R50's train step on a
CPU and an eighth of its evaluation. Where one CPU runs a network, the state is held without
stacks; `Unstacked` takes the place of an array, so that every path stays as it is.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import SequenceKey

PyTree = Any
_STACKS = "rest"
"""The key under which a stage holds the arrays of its equal blocks."""


@jax.tree_util.register_pytree_with_keys_class
class Unstacked:
    """The entries of a stacked array, in order.

    Attributes:
        blocks: an array for each block, of equal shapes.
    """

    __slots__ = ("blocks",)

    def __init__(self, blocks: Iterable[Any]):
        self.blocks = tuple(blocks)

    def tree_flatten_with_keys(self) -> tuple[list[tuple[SequenceKey, Any]], None]:
        return [(SequenceKey(i), block) for i, block in enumerate(self.blocks)], None

    @classmethod
    def tree_unflatten(cls, _: None, blocks: Iterable[Any]) -> "Unstacked":
        return cls(blocks)


def is_stack(path: tuple[Any, ...]) -> bool:
    """Whether the array at a path of a network's state stacks those of equal blocks."""
    return any(getattr(key, "key", None) == _STACKS for key in path)


def is_unstacked(node: Any) -> bool:
    """Whether a node of a tree stands for a stacked array."""
    return isinstance(node, Unstacked)


def blocks_of(array: jax.Array | Unstacked) -> list[jax.Array]:
    """The entries of a stack. Their gradients are laid side by side, where indexing would add."""
    if isinstance(array, Unstacked):
        return list(array.blocks)
    return [jnp.squeeze(part, 0) for part in jax.lax.split(array, (1,) * array.shape[0])]


def unstacked(tree: PyTree) -> PyTree:
    """Params, statistics or a whole state with `Unstacked` for every stacked array; all copied.

    Args:
        tree: arrays on one device.
    """

    def one(path: tuple[Any, ...], leaf: jax.Array) -> Any:
        if not is_stack(path):
            return leaf
        # Through NumPy: nothing is compiled, of which there would be much for a large network.
        return Unstacked(
            jax.device_put(block, leaf.sharding, may_alias=False) for block in np.asarray(leaf)
        )

    return jax.tree_util.tree_map_with_path(one, tree)


def stacked(tree: PyTree) -> PyTree:
    """The tree with every `Unstacked` stacked again, copied; other arrays are the same."""

    def one(leaf: Any) -> Any:
        if not is_unstacked(leaf):
            return leaf
        return jax.device_put(np.stack(jax.device_get(leaf.blocks)), leaf.blocks[0].sharding)

    return jax.tree.map(one, tree, is_leaf=is_unstacked)
