"""Sentences of the paper that a design can check, and whether it bears them out.

Each is computed from the lines of the tables; what needs trainings that were not run is left open.
"""

import dataclasses
import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.growth import width_growth
from deepmad_jax.arch.zoo import ZOO
from deepmad_jax.errors import some_of
from deepmad_jax.report.paper.lines import Designed, Line
from deepmad_jax.report.table import COLUMNS, Table

GROWTH_LOW, GROWTH_HIGH = 1.2, 1.5
"""Appendix G: by how much widths grow at each downsampling."""

COST_TOLERANCE = 0.05
"""Share by which a count may miss what is printed, and still be called the same."""

_INDENT = len("does not hold") + 4

MINUTES = 5.0
""""A few"."""

BASELINE_RHO = {
    "resnet18": 0.01, "resnet34": 0.02, "resnet50": 0.09, "mobilenet_v2": 0.9,
    "efficientnet_b0": 0.6,
}  # fmt: skip
"""Network -> rho as the paper prints it."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of the paper.

    Attributes:
        words: what it says.
        ours: our figure.
        holds: whether ours bears it out; None where that needs trainings that were not run.
    """

    words: str
    ours: str
    holds: bool | None


def claims_of(tables: Mapping[str, Sequence[Line]], rho: Mapping[str, float]) -> list[Claim]:
    """All of them.

    Args:
        tables: the lines of Tables 1 to 10 by name.
        rho: of the networks of `BASELINE_RHO`, as counted here.
    """
    lines = [line for rows in tables.values() for line in rows]
    designs = _designs(lines)
    theirs, ours = _published(lines), {name: d.architecture for name, d in designs.items()}
    return [
        _growth("The paper's networks", theirs),
        _growth("Our designs", ours),
        _deepest_last("the paper's networks", theirs),
        _deepest_last("our designs", ours),
        *_with_rho("DeepMAD-R18", designs),
        *_with_rho("DeepMAD-B0", designs),
        _within_budgets(designs),
        _minutes(designs),
        _same_costs(lines, "params"),
        _same_costs(lines, "FLOPs"),
        _baselines(rho),
        *_trained(tables),
    ]


def claims_table(claims: Sequence[Claim]) -> Table:
    """The claims for a reader, each with our figure below."""
    words = {True: "holds", False: "does not hold", None: "not run"}
    cells = []
    for claim in claims:
        cells.append((words[claim.holds], claim.words))
        cells += [("", f"  {part}") for part in textwrap.wrap(claim.ours, COLUMNS - _INDENT)]
    note = (
        "Downsamplings are counted between stages, not from the stem to the first. Params and "
        "FLOPs of SLaK\nare those of the weights that are not zero, as the paper counts."
    )
    return Table("Claims of the paper", ("", ""), tuple(cells), "ll", note=note)


def _designs(lines: Iterable[Line]) -> dict[str, Designed]:
    """Each network once, of those designed by the paper's whole program."""
    found: dict[str, Designed] = {}
    for line in lines:
        known = line.designed is None or line.designed in found.values()
        if line.designed is not None and not known and not line.row.label.startswith("without"):
            found[line.row.label] = line.designed
    return found


def _published(lines: Iterable[Line]) -> dict[str, Architecture]:
    """The paper's own networks, by name."""
    return {
        line.row.network: line.architecture
        for line in lines
        if line.architecture is not None and line.row.network.startswith("deepmad")
    }


def _growth(whose: str, networks: Mapping[str, Architecture]) -> Claim:
    """Between stages: from the stem to the first stage the paper's own grow threefold."""
    found = [
        factor
        for arch in networks.values()
        for factor, first in zip(width_growth(arch), _from_stem(arch), strict=True)
        if not first
    ]
    within = sum(GROWTH_LOW <= round(factor, 1) <= GROWTH_HIGH for factor in found)
    return Claim(
        f"{whose}: widths grow {GROWTH_LOW} to {GROWTH_HIGH} fold at each downsampling",
        f"{within} of {len(found)} between stages do; {min(found):.2f} to {max(found):.2f} fold",
        within == len(found),
    )


def _from_stem(arch: Architecture) -> list[bool]:
    """For each factor of `width_growth`, whether it is from the stem to the first stage."""
    return [i == 0 for i, stage in enumerate(arch.stages) if stage.stride == 2]


def _deepest_last(whose: str, networks: Mapping[str, Architecture]) -> Claim:
    depths = {name: [stage.depth for stage in arch.stages] for name, arch in networks.items()}
    deepest = [name for name, depth in depths.items() if depth[-1] == max(depth)]
    others = [name for name in depths if name not in deepest]
    said = f"{len(deepest)} of {len(depths)}" + (f"; not {some_of(others)}" if others else "")
    return Claim(f"No stage of {whose} is deeper than the last", said, not others)


def _with_rho(name: str, designs: Mapping[str, Designed]) -> list[Claim]:
    """Depth and entropy up, width down, each strictly from one rho to the next."""
    family = [design for label, design in designs.items() if label.startswith(f"{name}, rho")]
    family.sort(key=lambda design: design.budgets[2])
    rho = ", ".join(f"{design.budgets[2]:g}" for design in family)
    kinds = (
        ("depth rises", "layers", 1.0, [design.layers for design in family]),
        ("entropy rises", "nats", 1.0, [design.counts.entropy_nats or 0.0 for design in family]),
        ("width falls", "mean fan-in", -1.0, [design.mean_width for design in family]),
    )
    return [
        Claim(
            f"{name}: {words} with rho",
            f"rho {rho}: {', '.join(f'{value:,.0f}' for value in values)} {unit}",
            all(sign * (b - a) > 0 for a, b in itertools.pairwise(values)),
        )
        for words, unit, sign, values in kinds
    ]


def _within_budgets(designs: Mapping[str, Designed]) -> Claim:
    over = [
        label
        for label, design in designs.items()
        if design.counts.params > design.budgets[0]
        or design.counts.macs > design.budgets[1]
        or (design.counts.rho or 0.0) > design.budgets[2]
    ]
    return Claim(
        "Designs keep params, MACs and rho",
        f"{len(designs) - len(over)} of {len(designs)}" + (f"; not {over[0]}" if over else ""),
        not over,
    )


def _minutes(designs: Mapping[str, Designed]) -> Claim:
    slowest = max(designs, key=lambda label: designs[label].cpu_seconds)
    total = sum(design.cpu_seconds for design in designs.values())
    seconds = designs[slowest].cpu_seconds
    return Claim(
        "A design takes a few minutes on a CPU",
        f"at most {seconds:.1f} CPU-seconds ({slowest}); all {len(designs)}: {total:.0f}",
        seconds < 60 * MINUTES,
    )


def _same_costs(lines: Iterable[Line], which: str) -> Claim:
    """Of the networks that the paper trained and that are published."""
    off: dict[str, float] = {}
    for line in lines:
        printed = line.row.params if which == "params" else line.row.flops
        if line.theirs is not None and printed is not None:
            off[line.row.label] = _as_printed(line)[which != "params"] / printed - 1.0
    far = {label: share for label, share in off.items() if abs(share) > COST_TOLERANCE}
    worst = max(off, key=lambda label: abs(off[label]))
    return Claim(
        f"Printed {which} of all rows are ours within {COST_TOLERANCE:.0%}",
        f"{len(off) - len(far)} of {len(off)}; farthest {worst}, {off[worst]:+.1%}",
        not far,
    )


def _as_printed(line: Line) -> tuple[int, int]:
    """Params and FLOPs as the paper counts them: without the weights that are kept at zero."""
    assert line.theirs is not None
    sparsity = ZOO[line.row.network].sparsity
    if sparsity and line.architecture is not None:
        return cost.nonzero(layer_table(line.architecture), sparsity)
    return line.theirs.params, line.theirs.macs


def _baselines(rho: Mapping[str, float]) -> Claim:
    found = {name: (printed, rho[name]) for name, printed in BASELINE_RHO.items()}
    digits = {name: 2 if printed < 0.1 else 1 for name, (printed, _) in found.items()}
    right = [name for name, (p, ours) in found.items() if round(ours, digits[name]) == p]
    said = ", ".join(f"{ours:.4f} ({printed})" for printed, ours in found.values())
    return Claim("rho of the five baselines is as printed", said, len(right) == len(found))


def _trained(tables: Mapping[str, Sequence[Line]]) -> list[Claim]:
    """What the accuracies of a table say, where all of its runs are there."""

    def best(name: str, rows: Sequence[str], words: str) -> Claim:
        """``words``, which holds where the mean of the first of the rows is the greatest."""
        found = {line.row.label: line.values for line in tables[name] if line.row.label in rows}
        if not all(found.get(row) for row in rows):
            return Claim(words, "needs trainings", None)
        means = {row: sum(found[row]) / len(found[row]) for row in rows}
        said = ", ".join(f"{100 * mean:.2f}" for mean in means.values())
        return Claim(words, said, means[rows[0]] == max(means.values()))

    r18 = [f"DeepMAD-R18, rho {rho}" for rho in (0.3, 0.1, 0.5, 0.7)]
    alpha = [f"DeepMAD-R18, alpha {alpha}" for alpha in (16, 8, 1)]
    off = ["all three", *(f"without guideline {i}" for i in (1, 2, 3))]
    return [
        best("table1", r18, "Of rho 0.1 to 0.7, 0.3 is best for DeepMAD-R18"),
        best("table7", alpha, "A greater weight of the last level is better on ImageNet"),
        best("table8", off, "All three guidelines together are best"),
    ]
