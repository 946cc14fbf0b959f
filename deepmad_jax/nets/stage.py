"""A stage: its first block, then equal blocks whose arrays are stacked on a leading axis.

The repeated blocks are one `Block` whose arrays have shape ``(depth - 1, ...)``. They run as one
`jax.lax.scan`, so that a stage is traced and compiled once whatever its depth, or as a Python loop
over slices of the same arrays. The state has the same layout either way: a checkpoint of one loads
into the other.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Layer
from deepmad_jax.nets.block import KEPT, Block

SCAN_BY_BACKEND = {"cpu": False, "gpu": True, "tpu": True}
"""Whether repeated blocks are scanned where the caller does not say.

cpu: measured on two cores (`benchmarks/scan.py`, DeepMAD-R18, batch 4, 224 pixels): a scanned train
step compiles in 0.46 of the loop's time and runs 6.8 times as long. gpu, tpu: not measured.
"""


KEEP_CONVS = jax.checkpoint_policies.save_only_these_names(KEPT)
"""What a scan keeps of each block for the backward pass: what its convs give. BatchNorm in float32
and the signs of ReLU, which XLA computes again by itself where blocks are unrolled, would cross the
scan's border as arrays: 2 to 8 times as much memory."""


class Stage(nnx.Module):
    """``depth`` blocks in a row.

    Args:
        first: layers of the first block.
        rest: layers of each repeated block; empty where depth is 1.
        repeats: depth - 1.
        scan: run the repeated blocks by `jax.lax.scan` rather than by a loop.
        settings: of every `Block`.
    """

    def __init__(
        self,
        first: Sequence[Layer],
        rest: Sequence[Layer],
        repeats: int,
        *,
        scan: bool,
        **settings: Any,
    ):
        self.scan = scan
        self.first = Block(first, **settings)
        self.rest = _stack(Block(rest, **settings), repeats) if repeats else None

    def __call__(
        self, x: jax.Array, train: bool = False, keep: jax.Array | None = None
    ) -> jax.Array:
        """The output of the last block; with ``train`` the running statistics move.

        ``keep``, shape (depth, batch, 1, 1, 1), is handed to the blocks, one row each.
        """
        x = self.first(x, train, None if keep is None else keep[0])
        if self.rest is None:
            return x
        graphdef, params, stats = nnx.split(self.rest, nnx.Param, nnx.BatchStat)

        step = functools.partial(_one_block, graphdef=graphdef, train=train)
        if self.scan and train:
            step = jax.checkpoint(step, policy=KEEP_CONVS)
        run = jax.lax.scan if self.scan else _loop
        x, stats = run(step, x, (params, stats, None if keep is None else keep[1:]))
        if train and not self.rest.frozen:
            nnx.update(self.rest, stats)
        return x


# Jitted so that the loop, too, traces a block once: Flax's assignment to a Variable takes time in
# proportion to the trace so far, so tracing a loop of 38 blocks took 4.5 s, and takes 0.4 s so.
@functools.partial(jax.jit, static_argnames=("graphdef", "train"))
def _one_block(
    x: jax.Array, state: Any, *, graphdef: nnx.GraphDef, train: bool
) -> tuple[jax.Array, Any]:
    """One repeated block: its output, and its running statistics after it.

    ``state`` is its params, its statistics and its ``keep``.
    """
    *state, keep = state
    block = nnx.merge(graphdef, *state)
    x = block(x, train, keep)
    return x, nnx.state(block, nnx.BatchStat)


def _loop(step: Callable, carry: Any, xs: Any) -> tuple[Any, Any]:
    """What `jax.lax.scan` does, unrolled."""
    length = jax.tree.leaves(xs)[0].shape[0]
    outs = []
    for i in range(length):
        carry, out = step(carry, jax.tree.map(operator.itemgetter(i), xs))
        outs.append(out)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outs)


def _stack(block: Block, repeats: int) -> Block:
    """The same block with every array repeated on a new leading axis."""
    graphdef, state = nnx.split(block)
    stacked = jax.tree.map(lambda a: jnp.broadcast_to(a, (repeats, *a.shape)), state)
    return nnx.merge(graphdef, stacked)
