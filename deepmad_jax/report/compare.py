"""Networks side by side: costs, shape and published accuracy, as text for a terminal.

Costs come from the layer table of `arch`; entropy and rho are given, under the keys of
``design.json``.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.zoo import entry_of
from deepmad_jax.report.sections import px_of
from deepmad_jax.report.table import COLUMNS, Table, percent, printable, to_text

_HEADER = ("", "px", "classes", "params", "MACs", "layers", "rho", "entropy", "last level", "top-1")
_NOTE = """\
Layers: convs of the main path. rho: these over their average width. Entropy, nats: the sum over the
levels, weight 1 and 8 for the last, and the last level's alone; both at the resolution given. All
are of convs, so "-" where there is attention, and ours of networks that the paper gives none for.
top-1: percent as published, on ImageNet or (10 classes) CIFAR-10; not measured here."""
_MERGED_NOTE = """
Merged: the network above for inference, its small kernels within the large ones."""
_SPARSE_NOTE = """
Non-zero: what the source counts of the network above, of whose weights it keeps 40 % at zero. A
machine without sparse kernels stores and multiplies all of them, as counted one line above."""


def compare_table(
    architectures: Mapping[str, Architecture], numbers: Mapping[str, Mapping[str, Any]]
) -> str:
    """One line a network, at most 100 columns wide.

    Args:
        architectures: by the name that the reader gave.
        numbers: by the same names, with ``layers``, ``rho``, ``entropy`` and ``entropy_per_level``.
    """
    lines: list[tuple[str, tuple[str, ...]]] = []
    for name, arch in architectures.items():
        lines.append((name, _row(arch, numbers[name])))
        found = entry_of(arch)
        if found is not None and found.sparsity:
            left = cost.nonzero(layer_table(arch), found.sparsity)
            lines.append(("  non-zero", ("", "", *(f"{number:,}" for number in left), *[""] * 5)))
        if arch.stages[-1].block == "replk" and not arch.merged:
            rows_merged = layer_table(dataclasses.replace(arch, merged=True))
            left = (cost.params(rows_merged), cost.macs(rows_merged))
            lines.append(("  merged", ("", "", *(f"{number:,}" for number in left), *[""] * 5)))
    rows = [row for _, row in lines]
    taken = sum(max(map(len, column)) + 1 for column in zip(_HEADER[1:], *rows, strict=True))
    # The end of a long path says more than its beginning.
    labels = [_end_of(printable(name, 500), COLUMNS - taken) for name, _ in lines]
    cells = tuple((label, *row) for label, row in zip(labels, rows, strict=True))
    labelled = {label for label, _ in lines}
    note = _NOTE + (_SPARSE_NOTE if "  non-zero" in labelled else "")
    note += _MERGED_NOTE if "  merged" in labelled else ""
    return to_text(Table("Networks", _HEADER, cells, "lrrrrrrrrr", note=note)) + "\n"


def _row(arch: Architecture, numbers: Mapping[str, Any]) -> tuple[str, ...]:
    table, found = layer_table(arch), entry_of(arch)
    of_convs = (
        ("-", "-", "-", "-")
        if numbers["rho"] is None
        else (
            f"{numbers['layers']:,.0f}",
            f"{numbers['rho']:,.4f}",
            f"{numbers['entropy']:,.1f}",
            f"{numbers['entropy_per_level'][-1]:,.1f}",
        )
    )
    return (
        px_of(arch.image),
        f"{arch.classes:,}",
        f"{cost.params(table):,}",
        f"{cost.macs(table):,}",
        *of_convs,
        "-" if found is None else percent(found.top1),
    )


def _end_of(text: str, most: int) -> str:
    return text if len(text) <= most else "..." + text[len(text) - most + 3 :]
