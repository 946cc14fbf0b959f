"""The numbers of a design as tables of text (`table`), for a terminal and for HTML.

Layer counts come from the layer table of `arch`; everything about the design is read from its
results (``design.json``) as they stand. What the results do not hold is left out.
"""

from collections.abc import Callable
from typing import Any

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.growth import width_growth
from deepmad_jax.arch.rows import attends
from deepmad_jax.arch.zoo import entry_of
from deepmad_jax.report.clips import x3d_table
from deepmad_jax.report.read import finite, mapping, numbers, records
from deepmad_jax.report.sections import describe, level_resolutions, px_of, sections
from deepmad_jax.report.table import COLUMNS, Table, percent, printable, to_text

BUDGETS = {"params": "params", "macs": "MACs", "rho": "rho"}
"""Keys of the budgets in ``design.json`` -> their names for a reader."""

RHO = "depth over average width of the main path"


def design_table(arch: Architecture, design: dict[str, Any] | None = None) -> str:
    """The design as text for a terminal, at most 100 columns wide.

    Args:
        arch: the network.
        design: the contents of ``design.json``; of a network that was not designed here, at most
            its entropy and rho by the same keys.
    """
    title = f"{printable(arch.name, COLUMNS)}\n{describe(arch)}"
    return "\n\n".join([title, *(to_text(table) for table in tables(arch, design))]) + "\n"


def tables(arch: Architecture, design: dict[str, Any] | None = None) -> list[Table]:
    """The layer table, what was published, then what ``design`` has: budgets, entropy, facts."""
    design = design or {}
    found = [
        _layers(arch),
        _macs(arch),
        _published(arch),
        x3d_table(arch),
        _budgets(arch, design),
        _entropy(arch, design),
        _facts(arch, design),
        _alternatives(arch, design),
        _without(design),
        _elasticities(design),
    ]
    return [table for table in found if table.rows]


def sensitivity_tables(design: dict[str, Any]) -> str:
    """What the job ``sensitivity`` adds to a ``design.json``, as text."""
    found = (_without(design), _elasticities(design))
    return "\n\n".join(to_text(table) for table in found if table.rows) + "\n"


def level_weights(design: dict[str, Any]) -> list[float | int]:
    """The weights alpha of the levels, empty where the results do not tell.

    Taken from the key ``alpha``; where it is missing or empty the default, 1 and 8 on the last, is
    believed only if it gives the stored sum.
    """
    entropies = numbers(design.get("entropy_per_level"))
    alpha = numbers(design.get("alpha"))
    if entropies and len(alpha) == len(entropies):
        return alpha
    default: list[float | int] = [*[1] * (len(entropies) - 1), 8]
    stored = finite(design.get("entropy"))
    if not entropies or alpha or stored is None:
        return []
    total = sum(a * h for a, h in zip(default, entropies, strict=True))
    return default if abs(total - stored) <= 1e-9 * abs(stored) else []


def budget_use(arch: Architecture, design: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """For params, macs and rho: used and budget (None for no limit), as the design counted them.

    A network without a design has its exact params and MACs, and no rho.
    """
    rows = layer_table(arch)
    exact = {"params": cost.params(rows), "macs": cost.macs(rows)}
    budgets = mapping(design.get("budgets"))
    return {
        key: (finite(design.get(key, exact.get(key))), finite(budgets.get(key))) for key in BUDGETS
    }


def _layers(arch: Architecture) -> Table:
    parts = sections(arch)
    params, macs = sum(s.params for s in parts), sum(s.macs for s in parts)
    rows = [
        (
            s.name,
            s.kind,
            _maybe(px_of, s.kernel),
            _maybe(px_of, s.stride),
            f"{s.width:,}",
            _whole(s.inner),
            _whole(s.depth),
            px_of(s.resolution_px),
            f"{s.params:,}",
            f"{100 * s.params / params:.1f}",
            f"{s.macs:,}",
            f"{100 * s.macs / macs:.1f}",
        )
        for s in parts
    ]
    depth = sum(stage.depth for stage in arch.stages)
    total = ("total", *[""] * 5, f"{depth:,}", "", f"{params:,}", "100.0", f"{macs:,}", "100.0")
    return Table(
        "Layers",
        (
            "", "block", "kernel", "stride", "width", "inner", "depth", "px",
            "params", "%", "MACs", "%",
        ),
        (*rows, total),
        "llrrrrrrrrrr",
        total=True,
        note="Depth in blocks; its total counts the stages' blocks. px: output pixels a side"
        f"{', after its frames' if arch.frames else ''}.",
    )  # fmt: skip


def _macs(arch: Architecture) -> Table:
    """What kinds of layers do the work, of a network that has more than convs."""
    rows = layer_table(arch)
    found, every = cost.macs_by_kind(rows), cost.macs(rows)
    cells = [(kind, f"{n:,}", f"{100 * n / every:.1f}") for kind, n in found.items()]
    return Table(
        "MACs by kind of layer",
        ("", "MACs", "%"),
        tuple(cells) if attends(rows) else (),
        "lrr",
        note="Depthwise is part of conv; attention is its two products, its linear layers are not.",
    )


def _published(arch: Architecture) -> Table:
    found = entry_of(arch)
    rows: tuple[tuple[str, ...], ...] = ()
    if found is not None:
        rows = (("top-1", f"{percent(found.top1)} %"), ("source", found.source))
        rows += (("counting", found.counting),)
        if found.sparsity:
            params, macs = cost.nonzero(layer_table(arch), found.sparsity)
            left = f"{params:,} params and {macs:,} MACs are left without the zeros"
            rows += (("non-zero", left),)
    return Table("Published (not measured here)", ("", ""), rows, "ll")


def _budgets(arch: Architecture, design: dict[str, Any]) -> Table:
    prices = mapping(design.get("multipliers"))
    rows = []
    budgets = mapping(design.get("budgets"))
    use = budget_use(arch, design)
    use |= {
        key: (finite(design.get(key)), finite(budgets[key])) for key in budgets if key not in use
    }
    for key, (used, budget) in use.items():
        number = _count if key in ("params", "macs", "layers", "activations") else _rho
        price = finite(prices.get(key))
        if used is not None or budget is not None:
            rows.append(
                (
                    BUDGETS.get(key, printable(key.replace("_", " "), 20)),
                    _maybe(number, used),
                    _maybe(number, budget, "no limit"),
                    f"{100 * used / budget:.2f} %" if used is not None and budget else "-",
                    "-" if price is None else f"{price:,.2f}",
                )
            )
    if "budgets" not in design:  # the layer table's last row has said it
        rows = []
    note = "Price: nats of relaxed objective gained for 1 % more of that budget."
    if design.get("convention") == "tinynas":
        note += "\nCounted in the tinynas convention, which leaves out the classifier."
    return Table(
        "Budgets", ("", "used", "budget", "share", "price"), tuple(rows), "lrrrr", note=note
    )


def _entropy(arch: Architecture, design: dict[str, Any]) -> Table:
    entropies = numbers(design.get("entropy_per_level"))
    sizes = level_resolutions(arch)
    weights = level_weights(design)
    rows: list[tuple[str, ...]] = []
    for i, entropy in enumerate(entropies):
        size = sizes[i] if len(sizes) == len(entropies) else "-"
        weighted = ("-", "-")
        if weights:
            weighted = (f"{weights[i]:g}", f"{weights[i] * entropy:,.2f}")
        rows.append((f"level {i + 1}", size, f"{entropy:,.2f}", *weighted))
    stored = finite(design.get("entropy"))
    total = bool(rows) and stored is not None
    if total:
        rows.append(("sum", "", "", "", f"{stored:,.2f}"))
    return Table(
        "Entropy, nats",
        ("", "px", "entropy", "weight", "weighted"),
        tuple(rows),
        "lrrrr",
        total=total,
    )


def _facts(arch: Architecture, design: dict[str, Any]) -> Table:
    nats = "{:,.2f}".format
    gap = finite(design.get("gap"))
    known = [
        ("objective", _maybe(nats, finite(design.get("objective"))), "entropy - depth penalty"),
        ("entropy", _maybe(nats, finite(design.get("entropy"))), "weighted sum over levels"),
        ("depth penalty", _maybe(nats, finite(design.get("depth_penalty"))), "beta Q"),
        (
            "relaxed objective",
            _maybe(nats, finite(design.get("relaxed_objective"))),
            "best point of the relaxation",
        ),
        (
            "upper bound",
            _maybe(nats, finite(design.get("upper_bound"))),
            "no network in the space is better",
        ),
        ("gap", "-" if gap is None else f"{100 * gap:.4f} %", "(bound - objective) / objective"),
        # With budgets, their table has it.
        ("rho", "-" if "budgets" in design else _maybe(_rho, finite(design.get("rho"))), RHO),
        (
            "width growth",
            "  ".join(f"{g:.2f}" for g in width_growth(arch)) or "-",
            "at each downsampling, from the stem on",
        ),
        ("convention", _word(design.get("convention")), "how entropy and costs are counted"),
        ("candidates", _maybe(_count, finite(design.get("candidates"))), "networks tried"),
        ("starts", _maybe(_count, finite(design.get("starts"))), "of the relaxed solver"),
        ("seed", _maybe(_count, finite(design.get("seed"))), ""),
        ("seconds", _maybe("{:,.2f}".format, finite(design.get("seconds"))), "designing"),
    ]
    return Table(
        "Design" if "objective" in design else "Shape",
        ("", "", ""),
        tuple(fact for fact in known if fact[1] != "-"),
        "lrl",
    )


def _alternatives(arch: Architecture, design: dict[str, Any]) -> Table:
    """The design, then the networks that come next, one a row."""
    rows: list[tuple[str, ...]] = []
    best = finite(design.get("objective"))
    first = {**design, "architecture": arch.to_dict()}
    for i, entry in enumerate([first, *records(design.get("alternatives"))]):
        stages = records(mapping(entry.get("architecture")).get("stages"))
        widths, depths = (
            " ".join(_maybe(_whole, finite(stage.get(name))) for stage in stages)
            for name in ("width", "depth")
        )
        objective = finite(entry.get("objective"))
        rows.append(
            (
                "design" if i == 0 else str(i),
                _maybe("{:,.2f}".format, objective),
                f"{100 * objective / best:.3f}" if objective is not None and best else "-",
                _maybe(_count, finite(entry.get("params"))),
                _maybe(_count, finite(entry.get("macs"))),
                _maybe(_rho, finite(entry.get("rho"))),
                printable(widths, 30),
                printable(depths, 20),
            )
        )
    return Table(
        "Alternatives",
        ("", "objective", "%", "params", "MACs", "rho", "widths", "depths"),
        tuple(rows) if len(rows) > 1 else (),
        "lrrrrrll",
        note="The best networks met that differ from all above them in more than one width.",
    )


def _without(design: dict[str, Any]) -> Table:
    """What each constraint costs: the relaxed optimum where it alone is dropped."""
    held = finite(design.get("relaxed_objective"))
    rows = []
    for name, value in mapping(design.get("objective_without")).items():
        free = finite(value)
        if free is not None and held:
            shown = BUDGETS.get(name, printable(name.replace("_", " "), 20))
            rows.append((shown, f"{free:,.2f}", f"{100 * (free - held) / abs(held):+.2f} %"))
    return Table(
        "What each constraint costs",
        ("", "objective without", "gain"),
        tuple(rows),
        "lrr",
        note="Relaxed objective, nats, where this constraint alone is dropped.",
    )


def _elasticities(design: dict[str, Any]) -> Table:
    """One row for each relaxed width, inner width, kernel and depth; one column for each budget."""
    found = {
        budget: mapping(point) for budget, point in mapping(design.get("elasticities")).items()
    }
    first = next(iter(found.values()), {})
    rows = [("stem width", *(_moved(point.get("stem")) for point in found.values()))]
    for name in ("width", "inner", "kernel", "depth"):
        for i in range(len(numbers(first.get(name)))):
            parts = [numbers(point.get(name)) for point in found.values()]
            moved = (_moved(part[i] if i < len(part) else None) for part in parts)
            rows.append((f"stage {i + 1} {name}", *moved))
    return Table(
        "Elasticities of the relaxed optimum",
        ("", *(BUDGETS.get(budget, printable(budget, 20)) for budget in found)),
        tuple(rows) if found else (),
        "l" + "r" * len(found),
        note="Percent by which each number moves for 1 % more of the budget above it. Where a "
        "stage attends, its kernel is the number of heads.",
    )


def _moved(value: Any) -> str:
    # Rounded first, and 0 added, so that no -0.000 stands there.
    return _maybe(lambda moved: f"{round(moved, 3) + 0.0:+.3f}", finite(value))


def _rho(value: float) -> str:
    return f"{value:,.4f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _count(value: float) -> str:
    # Budgets are floats (1.82e9); whole ones read better without a fraction.
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _maybe(number: Callable[[Any], str], value: Any, absent: str = "-") -> str:
    return absent if value is None else number(value)


def _word(value: Any) -> str:
    return printable(value, 30) if isinstance(value, str) and value else "-"
