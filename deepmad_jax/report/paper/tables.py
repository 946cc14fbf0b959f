"""The paper's tables as text cells, ours in the columns beside theirs."""

import textwrap
from collections.abc import Sequence

from deepmad_jax.paper import Printed
from deepmad_jax.paper.searches import DEEPMAD, SEARCHES
from deepmad_jax.report.paper.lines import Counts, Designed, Line
from deepmad_jax.report.paper.ranking import (
    GROUPS,
    PAPERS_RHO,
    PAPERS_TAU,
    Network,
    by_group,
)
from deepmad_jax.report.spread import spread
from deepmad_jax.report.table import COLUMNS, Table, percent

NOT_RUN = "not run"

_NOTE = (
    "Params and MACs are counted here, of the whole network, but those with M and G, which are as "
    "printed\nof networks that are not published. rho: layers of the main path over their average "
    "width. Entropy:\nnats, weight 1 and 8 for the last level."
)
_BACKBONE_NOTE = "Counted of the backbone alone, FLOPs as mmcv does, on {} x {} pixels."


def results_table(name: str, printed: Printed, lines: Sequence[Line]) -> Table:
    """A table with a line for each row of the paper, and one below for what is designed here."""
    cells: list[tuple[str, ...]] = []
    for line in lines:
        row, ours = line.row, _ours(line)
        printed_costs = (_rounded(row.params), _rounded(row.flops), "-", "-")
        costs = printed_costs if line.theirs is None else _exact(line.theirs)
        mine = ours if line.designed is None else ""
        cells.append((row.label, *costs, percent(row.value), mine))
        if line.designed is not None:
            cells.append(("  designed here", *_exact(line.designed.counts), "", ours))
    note = _BACKBONE_NOTE.format(*printed.image_px) if printed.image_px else _NOTE
    note += f"\n{textwrap.fill(printed.note, COLUMNS)}" if printed.note else ""
    note += "".join(f"\n{line.row.label}: {line.why}." for line in lines if line.why)
    costs = ("params", "FLOPs" if printed.image_px else "MACs", "rho", "entropy")
    return Table(
        f"{title_of(name)}. {printed.title}; {printed.measure}",
        ("", *costs, "paper", "ours"),
        tuple(cells),
        "lrrrrrr",
        note=note,
    )


def search_table(designs: Sequence[tuple[str, Designed]]) -> Table:
    """Table 11: what finding a network costs, the dearest first, ours last.

    Args:
        designs: named, in the order in which they were made.
    """
    cells = [
        (found.method, found.cost, f"{found.device_hours:,.0f} h", found.source)
        for found in sorted(SEARCHES, key=lambda found: -found.device_hours)
    ]
    cells.append((DEEPMAD.method, DEEPMAD.cost, "under 1 h", DEEPMAD.source))
    for name, designed in designs:
        seconds = designed.cpu_seconds
        hours = f"{seconds / 3600:.5f} h"
        cells.append((f"{name}, ours", f"{seconds:.1f} CPU-seconds", hours, "this run"))
    return Table(
        "Table 11. Cost of finding a network",
        ("", "cost", "hours of one device", "source"),
        tuple(cells),
        "llrl",
        note=(
            "A GPU-hour is no CPU-hour: the comparison is of magnitudes, and leaves out the "
            "training of\nwhat was found. NASNet, AmoebaNet and DARTS search on CIFAR-10; "
            "once-for-all serves many budgets.\nOf the paper's own table only its own row is on "
            "record here. The first design of a form\ncompiles the solver."
        ),
    )


def recipe_table(rows: Sequence[tuple[str, object, object, object, object]]) -> Table:
    """Table 12: settings as printed and as our configs have them, of both data sets."""
    cells = tuple(
        (
            words,
            _setting(imagenet),
            _setting(ours),
            _setting(cifar),
            _setting(ours_cifar),
            "" if (imagenet, cifar) == (ours, ours_cifar) else "differs",
        )
        for words, imagenet, ours, cifar, ours_cifar in rows
    )
    header = ("", "ImageNet", "ours", "CIFAR-100", "ours", "")
    return Table(
        "Table 12. Training settings",
        header,
        cells,
        "lrrrrl",
        note="Ours: configs/r18.py and configs/r20_cifar.py. The paper's float16 is bfloat16 here.",
    )


def ranking_table(networks: Sequence[Network], what: str) -> Table:
    """Figure 3 in numbers: tau of entropy against accuracy, by group of rho."""
    cells = []
    ranked = by_group(networks, GROUPS)
    for group in ranked:
        ends = "-" if group.ends is None else "{:+.2f} to {:+.2f}".format(*group.ends)
        tau = "-" if group.tau is None else f"{group.tau:+.2f}"
        label = "all" if group is ranked[-1] else f"rho {group.low:.2f} to {group.high:.2f}"
        cells.append((label, str(group.count), tau, ends))
    if not cells:
        cells.append(("all", f"{len(networks)}", NOT_RUN, ""))
    return Table(
        f"Figure 3. Kendall's tau of entropy against top-1 on {what}",
        ("", "networks", "tau", "95 % interval"),
        tuple(cells),
        "lrrr",
        note=(
            f"The paper: {PAPERS_TAU} around rho {PAPERS_RHO}, on CIFAR-100. Interval: bootstrap "
            "over networks;\nit says nothing of the seeds within each mean."
        ),
    )


def title_of(name: str) -> str:
    """A part's name for a reader.

    >>> title_of("table11"), title_of("fig2")
    ('Table 11', 'Figure 2')
    """
    return name.replace("table", "Table ").replace("fig", "Figure ").strip().capitalize()


def _ours(line: Line) -> str:
    if line.values:
        over = spread(line.values)
        return over.percent() if over.count > 1 else f"{100 * over.mean:.2f}"
    return NOT_RUN if line.row.run else "-"


def _exact(counts: Counts) -> tuple[str, str, str, str]:
    return (
        f"{counts.params:,}",
        f"{counts.macs:,}",
        "-" if counts.rho is None else f"{counts.rho:.4f}",
        "-" if counts.entropy_nats is None else f"{counts.entropy_nats:,.1f}",
    )


def _rounded(value: float | None) -> str:
    """As the paper prints costs.

    >>> _rounded(11.7e6), _rounded(1.8e9), _rounded(None)
    ('11.7 M', '1.8 G', '-')
    """
    if value is None:
        return "-"
    return f"{value / 1e9:g} G" if value >= 1e9 else f"{value / 1e6:g} M"


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
