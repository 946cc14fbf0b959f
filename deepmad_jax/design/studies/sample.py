"""Random architectures of a given budget with prescribed rho, as the paper's section 5.3 studies.

The range of rho is cut into ``count`` equal strata and one network is drawn for each. A draw is the
end of a random walk on the integer lattice: a step is kept where it does not move away from the
region (the stratum of rho, within the budgets, one budget well used, widths that do not shrink), so
a walk first falls into the region and then wanders in it. Nothing is maximised: neither entropy nor
the depth penalty plays a part.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from deepmad_jax.arch.growth import width_growth
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.evaluate import (
    REAL_SLACK,
    Data,
    Form,
    Numbers,
    Point,
    evaluate,
    spent,
)
from deepmad_jax.design.program.lattice import (
    Lattice,
    repair,
    structural_violation,
    to_point,
)
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.prepared import prepare
from deepmad_jax.design.program.problem import BUDGETS, Problem
from deepmad_jax.errors import InfeasibleProblem, InvalidConfig

__all__ = ["sample_architectures", "width_growth"]

# Walks of each stratum in a round, steps of a walk, and rounds before a stratum counts as empty.
WALKS, STEPS, ROUNDS = 8, 600, 4


def sample_architectures(
    problem: Problem,
    count: int,
    rho_low: float,
    rho_high: float,
    seed: int = 0,
    least_use: float = 0.85,
    max_growth: float = math.inf,
) -> tuple[Architecture, ...]:
    """``count`` distinct feasible architectures, rho ascending, one in each stratum of rho.

    Stratum i is ``rho_low + [i, i + 1) * (rho_high - rho_low) / count``. The same arguments give
    the same architectures.

    Args:
        problem: the space and the budgets; its weights, beta and seed are not read.
        count: how many.
        rho_low, rho_high: range of rho, counted in the problem's convention.
        seed: of the draws.
        least_use: share of its budget that MACs or params (at least one of them) must use.
        max_growth: greatest ratio of a stage's width to the width before it, the stem's included.
            Without a limit most draws widen several fold at once (designs: see `width_growth`).
    Raises:
        InvalidConfig: an argument out of range, or a problem whose own rho or budgets exclude it.
        InfeasibleProblem: a stratum could not be filled; the message says which, and how close.

    >>> space = Problem(block="basic", strides=(1, 2), kernels=(3,), inner_ratio=(0.5, 1),
    ...                 stem_width=(4, 16), stem_stride=1, multiple_of=4, min_width=4,
    ...                 max_width=64, resolution=16, classes=10, params=2e4)
    >>> few = sample_architectures(space, 3, 0.1, 0.4)
    >>> [arch.name for arch in few]
    ['random-0', 'random-1', 'random-2']
    """
    _check(problem, count, rho_low, rho_high, least_use, max_growth)
    edges = np.linspace(rho_low, rho_high, count + 1)
    prepared = prepare(problem)
    region = _Region(prepared.form, prepared.data, prepared.lattice, least_use, max_growth)
    # A budget below the cheapest network has its own message; rho is the strata's matter.
    feasible.check_floors(prepare(dataclasses.replace(problem, rho=math.inf)))
    found: dict[int, np.ndarray] = {}
    nearest: dict[int, tuple[float, Numbers]] = {}
    for attempt in range(ROUNDS):
        missing = [i for i in range(count) if i not in found]
        if not missing:
            break
        strata = np.repeat(missing, WALKS)
        rng = np.random.default_rng([seed, attempt])
        u = _walk(problem, region, edges[strata], edges[strata + 1], rng)
        distance, numbers = _distance(region, edges[strata], edges[strata + 1], u)
        for stratum in missing:
            mine = np.flatnonzero(strata == stratum)
            best = mine[distance[mine].argmin()]
            if distance[best] == 0.0:
                found[stratum] = u[best]
            elif stratum not in nearest or distance[best] < nearest[stratum][0]:
                at = numbers._replace(
                    **{name: getattr(numbers, name)[best] for name in BUDGETS},
                    extra=tuple(value[best] for value in numbers.extra),
                )
                nearest[stratum] = (float(distance[best]), at)
    for i in range(count):
        if i not in found:
            raise _unfilled(problem, edges[i], edges[i + 1], least_use, nearest[i][1])
    digits = len(str(count - 1))
    return tuple(
        problem.architecture(f"random-{i:0{digits}d}", to_point(region.lattice, found[i]))
        for i in range(count)
    )


class _Region(NamedTuple):
    """Where the draws must end, but for the stratum of rho."""

    form: Form
    data: Data
    lattice: Lattice
    least_use: float
    max_growth: float


def _walk(
    problem: Problem,
    region: _Region,
    low: np.ndarray,
    high: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Ends of one walk for each stratum ``[low, high)``, shape (walks, 1 + 4 S)."""
    lattice, size = region.lattice, region.lattice.low.size
    least, most = np.maximum(lattice.low, 1.0), np.maximum(lattice.high, 1.0)
    start = np.exp(rng.uniform(np.log(least), np.log(most + 1.0), (len(low), size)))
    start = np.where(lattice.low < 1.0, start - 1.0, start)  # indices of kernels begin at 0
    if problem.monotone:
        widths = Layout(problem.num_stages).widths
        start[:, widths] = np.sort(start[:, widths], axis=-1)
    u = np.asarray(repair(lattice, np.floor(start)))
    distance, _ = _distance(region, low, high, u)
    for _ in range(STEPS):
        # One to a few coordinates a step, each by up to a third of itself: trades between width
        # and depth need more than one to move.
        moved = rng.random(u.shape) < 2.0 / size
        span = np.maximum(1.0, rng.uniform(0.0, 0.33, u.shape) * u)
        step = moved * np.rint(span * rng.choice([-1.0, 1.0], u.shape))
        tried = np.asarray(repair(lattice, u + step))
        new_distance, _ = _distance(region, low, high, tried)
        kept = new_distance <= distance
        u = np.where(kept[:, None], tried, u)
        distance = np.where(kept, new_distance, distance)
    return u


def _distance(
    region: _Region, low: np.ndarray, high: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, Numbers]:
    """How far each candidate is from the region, in logs; exactly 0 inside. And its numbers."""
    point: Point = to_point(region.lattice, u)
    numbers = evaluate(region.form, region.data, point)
    distance = np.asarray(structural_violation(region.lattice, region.form.monotone, point))
    before = np.concatenate([np.asarray(point.stem)[:, None], point.width[:, :-1]], axis=-1)
    growth = np.log(point.width / before)
    distance = distance + np.maximum(0.0, growth - np.log(region.max_growth) - 1e-12).sum(-1)
    extras = spent(region.data, numbers)[..., 3:]  # after macs, params and rho
    distance = distance + np.maximum(0.0, extras - 1.0 - REAL_SLACK).sum(-1)
    use = np.maximum(numbers.macs / region.data.macs, numbers.params / region.data.params)
    inside = (
        (distance == 0.0)
        & (numbers.macs <= region.data.macs)
        & (numbers.params <= region.data.params)
        & (use >= region.least_use)
        & (numbers.rho >= low)
        & (numbers.rho < high)
    )
    distance = (
        distance
        + np.maximum(0.0, np.log(use))
        + np.maximum(0.0, np.log(region.least_use / use))
        + np.maximum(0.0, np.log(low / numbers.rho))
        + np.maximum(0.0, np.log(numbers.rho / high))
    )
    # Rounding may hide an edge: only what is inside in plain comparisons counts as distance 0.
    return np.where(inside, 0.0, np.maximum(distance, 1e-12)), numbers


def _check(
    problem: Problem,
    count: int,
    rho_low: float,
    rho_high: float,
    least_use: float,
    max_growth: float,
) -> None:
    if count < 1:
        raise InvalidConfig(f"count is {count}, but at least one architecture must be drawn.")
    if not 0.0 < rho_low < rho_high < math.inf:
        raise InvalidConfig(
            f"rho_low {rho_low} and rho_high {rho_high} must be positive, the first the smaller."
        )
    if not 0.0 < least_use < 1.0:
        raise InvalidConfig(f"least_use is {least_use}, but is a share in (0, 1), such as 0.85.")
    if not max_growth >= 1.0:
        raise InvalidConfig(
            f"max_growth is {max_growth}, but is a ratio of at least 1, such as 2 (inf: no limit)."
        )
    if rho_high > problem.rho:
        raise InvalidConfig(
            f"rho_high is {rho_high}, but design.rho allows {problem.rho} at most: raise "
            "design.rho (inf for no limit) or lower rho_high."
        )
    if not min(problem.macs, problem.params) < math.inf:
        raise InvalidConfig(
            "Architectures are drawn to a budget, but design.macs and design.params are both inf: "
            "set one of them."
        )


def _unfilled(
    problem: Problem, low: float, high: float, least_use: float, closest: Numbers
) -> InfeasibleProblem:
    use = {
        name: f"{100 * float(getattr(closest, name)) / getattr(problem, name):.1f} % of {name}"
        for name in ("macs", "params")
        if getattr(problem, name) < math.inf
    }
    rho = float(closest.rho)
    if rho < low:
        advice = "Lower rho_high, raise the maximum depth, or lower the minimum width."
    elif rho >= high:
        advice = "Raise rho_low, lower the minimum depth, or raise the maximum width."
    elif closest.macs > problem.macs or closest.params > problem.params:
        advice = "Raise the budget, lower the minimum width or depth, or change the range of rho."
    else:
        advice = "Lower least_use or count, raise max_growth, or widen the bounds."
    return InfeasibleProblem(
        f"No architecture was found with rho in [{low:.4g}, {high:.4g}) that uses "
        f"{100 * least_use:g}-100 % of a budget: the closest has rho {rho:.4g} and uses "
        f"{' and '.join(use.values())}. {advice}"
    )
