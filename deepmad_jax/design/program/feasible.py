"""Whether a problem can be met at all, and what the nearest reachable value is.

Costs grow with every variable, so the smallest network tells the floor of params and MACs. rho is
bounded below by giving every layer the greatest fan-in of the space, at the number of layers where
that helps most. Where each budget alone could be met but no network meets all, the integer search
says how close it came.
"""

import numpy as np

from deepmad_jax.arch.cost import fan_in
from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.rows import is_main_path
from deepmad_jax.arch.stages import LAYER_NORM_BLOCKS
from deepmad_jax.design.program.entropy import effectiveness
from deepmad_jax.design.program.evaluate import REAL_SLACK, Numbers, evaluate
from deepmad_jax.design.program.lattice import inner_bounds, repair, to_point
from deepmad_jax.design.program.limits import COUNTS, UNITS
from deepmad_jax.design.program.prepared import Prepared
from deepmad_jax.design.program.problem import BUDGETS, EXTRAS, Problem
from deepmad_jax.errors import InfeasibleProblem

_ADVICE = {
    "macs": "Raise macs, lower the minimum width or depth, lower the resolution, or drop a stage.",
    "params": "Raise params, lower the minimum width or depth, or drop a stage.",
    "rho": "Raise rho, lower the minimum depth, or raise the maximum width.",
    **{name: f"Raise {name}." for name in EXTRAS},
}
WHOLE = ("macs", "params", *COUNTS)
_UNITS = {"macs": "MACs", "params": "parameters", **UNITS}


def check_floors(prepared: Prepared) -> None:
    """Raises `InfeasibleProblem` where a budget lies below what the space can reach by itself."""
    problem = prepared.problem
    smallest = _numbers(prepared, smallest_network(prepared))
    for name, floor in (
        ("macs", smallest.macs),
        ("params", smallest.params),
        ("rho", least_rho(prepared)),
    ):
        budget = getattr(problem, name)
        if floor > budget * (1.0 + (REAL_SLACK if name == "rho" else 0.0)):
            if name == "rho":
                shallow = _numbers(prepared, widest_network(prepared))
                reason = (
                    f"the widest, shallowest has {_show(name, float(shallow.rho))}, and none can "
                    f"have less than {_show(name, floor)}"
                )
            else:
                reason = f"the smallest needs {_show(name, float(floor))}"
            raise InfeasibleProblem(
                f"No network in this space fits {_show(name, budget)}: {reason}. {_ADVICE[name]}"
            )


def explain_conflict(problem: Problem, closest: Numbers) -> InfeasibleProblem:
    """The error for budgets that can be met one by one, but not together as far as was found.

    Args:
        closest: numbers of the network that came nearest to meeting all.
    """
    values = {name: float(getattr(closest, name)) for name in BUDGETS}
    values |= {
        name: float(extra.max()) for name, extra in zip(problem.extras, closest.extra, strict=True)
    }
    misses = [
        (name, getattr(problem, name), value)
        for name, value in values.items()
        if value > getattr(problem, name) * (1.0 if name in WHOLE else 1.0 + REAL_SLACK)
    ]
    met = [name for name in values if name not in {m[0] for m in misses}]
    met = [
        _show(name, getattr(problem, name)) for name in met if np.isfinite(getattr(problem, name))
    ]
    missed = " and ".join(
        f"{_show(name, budget)} (it has {_show(name, value)})" for name, budget, value in misses
    )
    return InfeasibleProblem(
        "No network was found that meets all budgets at once: the closest misses "
        f"{missed}{' while it meets ' + ' and '.join(met) if met else ''}. "
        + " ".join(_ADVICE[name] for name, _, _ in misses)
    )


def smallest_network(prepared: Prepared) -> np.ndarray:
    """Coordinates of the cheapest network, shape (1 + 4 S,).

    Raises:
        InfeasibleProblem: some stage has no width with an inner width on the lattice.
    """
    problem, lattice = prepared.problem, prepared.lattice
    u = np.array(lattice.low)
    below = u[0]
    for i in range(1, 1 + prepared.layout.stages):
        start = max(below, u[i]) if problem.monotone else u[i]
        widths = np.arange(start, lattice.high[i] + 1)
        least, most = inner_bounds(lattice, widths * lattice.multiple)
        usable = widths[least <= most]
        if not usable.size:
            raise InfeasibleProblem(
                f"Stage {i} has no width between {start * lattice.multiple:.0f} and "
                f"{lattice.high[i] * lattice.multiple:.0f} with an inner width on the lattice: "
                f"inner / width must lie in inner_ratio {problem.inner_ratio}, and both must be "
                f"multiples of {problem.multiple_of}. Widen inner_ratio, raise max_width, lower "
                "multiple_of"
                + (", or set monotone to False." if problem.monotone and i > 1 else ".")
            )
        u[i] = below = usable[0]
    return np.asarray(repair(lattice, u))


def least_rho(prepared: Prepared) -> float:
    """A value that rho exceeds or equals in every network of the space, in either convention.

    With N layers, one of them the stem, rho = N / wbar is least where all but the stem have the
    greatest fan-in; the least over every N the depths allow is taken.
    """
    problem, lattice, depths = prepared.problem, prepared.lattice, prepared.layout.depth
    widest = widest_network(prepared)
    counts, greatest, stem_log = [], 0.0, 0.0
    for bound in (lattice.low, lattice.high):
        widest[depths] = bound[depths]
        rows = layer_table(problem.architecture("widest", to_point(lattice, widest)))
        convs = [row for row in rows if is_main_path(row)]
        counts.append(sum(row.repeat for row in convs))
        greatest = max(greatest, *(np.log(fan_in(row.layer)) for row in convs))
        stem_log = float(np.log(fan_in(convs[0].layer)))
    # Convs that stand only where a width changes may be more or fewer in another network.
    may_be = sum(
        stride == 1 and block in LAYER_NORM_BLOCKS
        for stride, block in zip(problem.strides, problem.stage_blocks, strict=True)
    )
    layers = np.arange(counts[0] - may_be, counts[1] + may_be + 1)
    return float(effectiveness(layers, stem_log + (layers - 1) * greatest).min())


def widest_network(prepared: Prepared) -> np.ndarray:
    """Coordinates of the shallowest network with the widest layers, shape (1 + 4 S,)."""
    lattice, parts = prepared.lattice, prepared.layout
    u = np.array(lattice.high)
    u[parts.depth] = lattice.low[parts.depth]
    if prepared.problem.monotone:  # no stage may be wider than a later one can be
        u[parts.widths] = np.minimum.accumulate(u[parts.widths][::-1])[::-1]
    return np.asarray(repair(lattice, u))


def _numbers(prepared: Prepared, u: np.ndarray) -> Numbers:
    return evaluate(prepared.form, prepared.data, to_point(prepared.lattice, u))


def _show(name: str, value: float) -> str:
    if name == "rho":
        return f"rho {value:.4g}"
    amount = f"{value:,.0f}" if value >= 1000 or value == round(value) else f"{value:.4g}"
    return f"{amount} {_UNITS[name]}"
