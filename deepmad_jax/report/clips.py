"""A network of clips beside X3D's, as published (`arch.x3d`)."""

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.x3d import X3D
from deepmad_jax.report.sections import px_of
from deepmad_jax.report.table import Table, printable


def x3d_table(arch: Architecture) -> Table:
    """Frames and pixels of a clip, params and MACs; without rows where the network has no clips."""
    rows = [
        (f"X3D-{name.upper()}", f"{x.frames}x{x.resolution}x{x.resolution}", x.params, x.macs)
        for name, x in X3D.items()
    ]
    table = layer_table(arch)
    rows.append((printable(arch.name, 30), px_of(arch.image), cost.params(table), cost.macs(table)))
    cells = [
        (name, clip, f"{params / 1e6:.2f}", f"{macs / 1e9:.3f}")
        for name, clip, params, macs in rows
    ]
    return Table(
        "Beside X3D",
        ("", "clip", "params, M", "MACs of a clip, G"),
        tuple(cells) if arch.frames else (),
        "lrrr",
        note="X3D as published (arXiv 2004.04730), for 400 classes; at the size of its training.",
    )
