"""Networks side by side: costs, shape and published accuracy, as text for a terminal.

Costs come from the layer table of `arch`; entropy and rho are given, under the keys of
``design.json``.
"""

from collections.abc import Mapping
from typing import Any

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.zoo import entry_of
from deepmad_jax.report.tables import COLUMNS, Table, percent, printable, to_text

_HEADER = ("", "px", "classes", "params", "MACs", "layers", "rho", "entropy", "last level", "top-1")
_NOTE = """\
Layers: convs of the main path. rho: these over their average width. Entropy, nats: the sum over the
levels, weight 1 and 8 for the last, and the last level's alone; both at the resolution given.
top-1: percent as published, on ImageNet or (10 classes) CIFAR-10; not measured here."""


def compare_table(
    architectures: Mapping[str, Architecture], numbers: Mapping[str, Mapping[str, Any]]
) -> str:
    """One line a network, at most 100 columns wide.

    Args:
        architectures: by the name that the reader gave.
        numbers: by the same names, with ``layers``, ``rho``, ``entropy`` and ``entropy_per_level``.
    """
    rows = [_row(arch, numbers[name]) for name, arch in architectures.items()]
    taken = sum(max(map(len, column)) + 1 for column in zip(_HEADER[1:], *rows, strict=True))
    # The end of a long path says more than its beginning.
    labels = [_end_of(printable(name, 500), COLUMNS - taken) for name in architectures]
    cells = tuple((label, *row) for label, row in zip(labels, rows, strict=True))
    return to_text(Table("Networks", _HEADER, cells, "lrrrrrrrrr", note=_NOTE)) + "\n"


def _row(arch: Architecture, numbers: Mapping[str, Any]) -> tuple[str, ...]:
    table, found = layer_table(arch), entry_of(arch)
    return (
        f"{arch.resolution:,}",
        f"{arch.classes:,}",
        f"{cost.params(table):,}",
        f"{cost.macs(table):,}",
        f"{numbers['layers']:,.0f}",
        f"{numbers['rho']:,.4f}",
        f"{numbers['entropy']:,.1f}",
        f"{numbers['entropy_per_level'][-1]:,.1f}",
        "-" if found is None else percent(found.top1),
    )


def _end_of(text: str, most: int) -> str:
    return text if len(text) <= most else "..." + text[len(text) - most + 3 :]
