"""The parts of a network from the sections of its layer table, with their initial kernels."""

import functools
import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from deepmad_jax.arch import Architecture, layer_table
from deepmad_jax.nets.block import Block
from deepmad_jax.nets.init import draw_kernels, silence_branches
from deepmad_jax.nets.stage import Stage


# Compiled as one program: built eagerly, each shape of array would compile its own.
@functools.partial(nnx.jit, static_argnums=(0, 2, 3, 4, 5, 6))
def build(
    arch: Architecture,
    key: jax.Array,
    dtype: jnp.dtype,
    batch_norm_momentum: float,
    scan: bool,
    cpu_convs: bool,
    zero_init: bool,
) -> tuple[Block, nnx.List, nnx.List | None, Block | None, Block]:
    """Stem, stages, norms of their outputs, final conv and head, drawn from ``key``."""
    sections: dict[str, list] = {}
    repeats: dict[str, int] = {}
    for section, rows in itertools.groupby(layer_table(arch), key=lambda row: row.section):
        rows = list(rows)
        sections[section] = [row.layer for row in rows]
        repeats[section] = rows[0].repeat
    settings = {
        "rngs": nnx.Rngs(key),
        "dtype": dtype,
        "batch_norm_momentum": batch_norm_momentum,
        "cpu_convs": cpu_convs,
        "axes": arch.axes,
    }
    stem = Block(sections["stem"], **settings)
    stages = nnx.List(
        Stage(
            sections[f"stage{i}.first"],
            sections.get(f"stage{i}.rest", ()),
            repeats.get(f"stage{i}.rest", 0),
            scan=scan,
            **settings,
        )
        for i in range(1, len(arch.stages) + 1)
    )
    norms = None
    if arch.stage_norms:
        norms = nnx.List(
            Block(sections[f"norm{i}"], **settings) for i in range(1, len(arch.stages) + 1)
        )
    final = Block(sections["final"], **settings) if "final" in sections else None
    head = Block(sections["head"], **settings)

    blocks = [
        stem,
        *(block for stage in stages for block in (stage.first, stage.rest)),
        final,
        head,
    ]
    blocks = [block for block in blocks if block is not None]
    draw_kernels(blocks, key)
    # The families start as their authors' code does.
    if zero_init and arch.family is None:
        silence_branches(blocks)
    return stem, stages, norms, final, head
