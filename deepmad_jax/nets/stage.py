"""A stage: its first block, then equal blocks whose arrays are stacked on a leading axis.

The repeated blocks are one `Block` whose arrays have shape ``(depth - 1, ...)``. They run as one
`jax.lax.scan`, so that a stage is traced and compiled once whatever its depth, or as a Python loop
over slices of the same arrays. The state has the same layout either way: a checkpoint of one loads
into the other. The loop also takes a state whose stacks are `Unstacked`, and gives such statistics.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Layer
from deepmad_jax.nets.block import KEPT, Block, Pair
from deepmad_jax.unstacked import Unstacked, blocks_of, is_unstacked

SCAN_BY_BACKEND = {"cpu": False, "gpu": True, "tpu": True}
"""Whether repeated blocks are scanned where the caller does not say.

cpu: measured (`benchmarks/scan.py`, DeepMAD-R18, batch 4, 224 pixels): a scanned train step takes
1.4 times as long as the loop to compile and 5.6 times as long to run. gpu, tpu: not measured.
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
        self.scan, self.repeats = scan, repeats
        self.apart = bool(settings.get("cpu_convs"))
        self.first = Block(first, **settings)
        self.rest = _stack(Block(rest, **settings), repeats) if repeats else None
        self.shifts = any(layer.shift for layer in rest)

    def __call__(
        self, x: jax.Array | Pair, train: bool = False, keep: jax.Array | None = None
    ) -> jax.Array | Pair:
        """The output of the last block; with ``train`` the running statistics move.

        ``keep``, shape (depth, additions, batch, 1, 1, 1), of clips one 1 more, is handed to the
        blocks, one row each.
        """
        x = self.first(x, train, None if keep is None else keep[0])
        if self.rest is None:
            return x
        graphdef, params, stats = nnx.split(self.rest, nnx.Param, nnx.BatchStat)

        step = functools.partial(_one_block, graphdef=graphdef, train=train)
        if self.scan and train:
            step = jax.checkpoint(step, policy=KEEP_CONVS)
        run = jax.lax.scan if self.scan else functools.partial(_loop, apart=self.apart)
        # Only where it is read, so that the program of other networks stays what it was.
        odd = None
        if self.shifts:
            odd = jnp.arange(self.repeats) % 2 == 0
        x, stats = run(step, x, (params, stats, None if keep is None else keep[1:], odd))
        if train and not self.rest.frozen:
            nnx.update(self.rest, stats)
        return x


# Jitted so that the loop, too, traces a block once: Flax's assignment to a Variable takes time in
# proportion to the trace so far, so tracing a loop of 38 blocks took 4.5 s, and takes 0.4 s so.
@functools.partial(jax.jit, static_argnames=("graphdef", "train"))
def _one_block(
    x: jax.Array | Pair, state: Any, *, graphdef: nnx.GraphDef, train: bool
) -> tuple[jax.Array | Pair, Any]:
    """One repeated block: its output, and its running statistics after it.

    ``state`` is its params, its statistics, its ``keep``, and whether it stands at an odd place.
    """
    *state, keep, odd = state
    block = nnx.merge(graphdef, *state)
    x = block(x, train, keep, False if odd is None else odd)
    return x, nnx.state(block, nnx.BatchStat)


def _loop(step: Callable, carry: Any, xs: Any, apart: bool = False) -> tuple[Any, Any]:
    """What `jax.lax.scan` does, unrolled.

    With ``apart`` each step starts from an array. XLA would else sum the residuals of all steps
    before anew in each, on a CPU, which took a seventh of DeepMAD-R50's train step and kept what
    every block adds (`compiler_options` makes barriers last).
    """
    leaves, structure = jax.tree.flatten(xs, is_leaf=is_unstacked)
    outs = []
    for parts in zip(*map(blocks_of, leaves), strict=True):
        carry = jax.lax.optimization_barrier(carry) if apart else carry
        carry, out = step(carry, structure.unflatten(parts))
        outs.append(out)
    together = Unstacked if any(map(is_unstacked, leaves)) else jnp.stack
    return carry, jax.tree.map(lambda *leaves: together(leaves), *outs)


def _stack(block: Block, repeats: int) -> Block:
    """The same block with every array repeated on a new leading axis."""
    graphdef, state = nnx.split(block)
    stacked = jax.tree.map(lambda a: jnp.broadcast_to(a, (repeats, *a.shape)), state)
    return nnx.merge(graphdef, stacked)
