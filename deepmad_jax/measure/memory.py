"""Bytes that the maps of a network need at once in inference, from its layer table.

A layer's input and output are there together, and so is the shortcut's map while the main branch is
computed; norms, activations and sums are fused into the convs before them. Not counted: weights,
the images themselves, and whatever a compiler needs for one conv (unfolded patches, padded copies).

A compiler also sets aside what does not grow with the batch, as copies of the kernels in another
order: so a network is compiled for one batch and for twice as many images.
"""

from collections.abc import Sequence
from typing import NamedTuple

from deepmad_jax.arch import Architecture, layer_table
from deepmad_jax.arch.rows import Layer
from deepmad_jax.measure.programs import Program, network_program

BYTES = {"float32": 4, "bfloat16": 2}


class Compiled(NamedTuple):
    """Bytes that a compiled network sets aside.

    Attributes:
        maps: what a batch more takes.
        fixed: the rest, whatever the batch.
    """

    maps: int
    fixed: int


def peak_bytes(arch: Architecture, batch: int, dtype: str) -> int:
    """The most bytes of maps that are there at once."""
    sections: dict[str, list[Layer]] = {}
    for row in layer_table(arch):
        sections.setdefault(row.section, []).append(row.layer)
    most = max(_peak(layers, reads_images=name == "stem") for name, layers in sections.items())
    return batch * BYTES[dtype] * most


def compiled_bytes(program: Program, arch: Architecture, batch: int, dtype: str) -> Compiled | None:
    """What compiled programs set aside beside their arguments; None where the compiler tells not.

    Args:
        program: the network in inference, for one batch.
        arch: of the network.
        batch: images at a time.
        dtype: of the computation.
    """
    once, twice = _set_aside(program), _set_aside(network_program(arch, 2 * batch, dtype))
    if once is None or twice is None:
        return None
    maps = max(twice - once, 0)
    return Compiled(maps, max(once - maps, 0))


def _set_aside(program: Program) -> int | None:
    analysis = program.compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)


def _peak(layers: Sequence[Layer], reads_images: bool) -> int:
    """Elements at the peak of one block."""
    first = layers[0]
    given = 0 if reads_images else _elements(first.c_in, first.r_in)
    joins = any(layer.kind == "add" for layer in layers)
    main = shortcut = most = given
    apart = False  # whether main and shortcut are two maps by now
    for layer in layers:
        if layer.kind not in ("conv", "pool", "max_pool", "mean", "dense", "pad"):
            if layer.kind == "add":
                shortcut, apart = 0, False
            continue
        made = _elements(layer.c_out, layer.r_out)
        if layer.branch == "shortcut":
            most = max(most, main + shortcut + made)
            shortcut = made
        elif layer.branch == "main":
            kept = shortcut if joins and apart else 0
            most = max(most, main + made + kept)
            main, apart = made, True
        else:
            most = max(most, main + made + (shortcut if joins and apart else 0))
    return most


def _elements(channels: int, pixels: int) -> int:
    return int(channels * pixels**2)
