"""Rounds of annealed chains: what they start from, and which of their points go on.

The first round starts from the networks that `dive` has found and from many integer depths around
the relaxed ones, the next from the best points so far and from crosses of them. How much is tried
is an `Effort`.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.lattice import KERNELS, nearest, repair
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.problem import BUDGETS
from deepmad_jax.design.relaxation.solve import Solution
from deepmad_jax.design.search.anneal import Chains, anneal
from deepmad_jax.design.search.ascent import INFEASIBLE, Ascent
from deepmad_jax.design.search.effort import COOL, Effort
from deepmad_jax.design.search.moves import draw_noise


class Starts(NamedTuple):
    """Where the first round begins.

    Attributes:
        points: lattice coordinates, (points, 1 + 4 S); may be none.
        ceiling: the greatest relaxed objective at fixed depths, kernels and ties; inf if unknown.
    """

    points: np.ndarray
    ceiling: float


def annealed(
    search: Ascent,
    solution: Solution,
    starts: Starts,
    effort: Effort,
) -> list[np.ndarray]:
    """Promising points for the local search: ends and best points of annealed chains.

    Half are the best feasible points seen, half the ends of greatest merit, which may overspend by
    parts in a thousand. Few of each share their depths, so that no one vector of depths crowds out
    the others.

    Args:
        search: of the problem; counts what is tried.
        solution: the relaxed optimum.
        starts: see there.
        effort: how much to try.
    """
    prepared, lattice, chains = search.prepared, search.lattice, effort.chains
    problem, parts = prepared.problem, prepared.layout
    stages, kernels, depths, widths = parts.stages, parts.kernel, parts.depth, parts.channels
    at = nearest(lattice, solution.point)
    rng = np.random.default_rng(problem.seed)
    steps = effort.steps * (2 if lattice.kernels.shape[1] > KERNELS else 1)

    u = np.repeat(at[None], chains, axis=0)
    spread = np.exp(rng.normal(scale=0.2, size=(chains, stages)))
    jitter = rng.uniform(-1.2, 1.2, size=(chains, stages))
    u[1:, depths] = np.rint(solution.point.depth * spread + jitter)[1:]
    # A quarter starts from other widths: on a coarse lattice the best ones may lie far off.
    far = np.exp(rng.normal(scale=0.35, size=(chains // 4, widths.stop)))
    u[-len(far) :, widths] = np.rint(u[-len(far) :, widths] * far)
    u = np.asarray(repair(lattice, u))
    if len(starts.points):
        scores = search.score(starts.points)
        leading = starts.points[np.argsort(-scores, kind="stable")]
        u[::2] = np.resize(leading, u[::2].shape)  # over and over; see `_agree`

    worth = max(abs(solution.objective), 1.0) if np.isfinite(solution.objective) else 1.0
    prices = np.array([solution.prices[name] for name in (*BUDGETS, *problem.extras)])
    prices = np.where(np.isfinite(prices), np.maximum(prices, 0.05 * worth), worth)
    scale = np.zeros(parts.size)
    scale[widths] = 1.0 + 0.05 * at[widths]
    feasible_pool, merit_pool = _Pool(depths), _Pool(depths)
    rounds = effort.rounds
    if len(starts.points):
        feasible_pool.add(starts.points, np.where(scores > INFEASIBLE, scores, -np.inf))
        # What lies above the ceiling says that it was none: the best choices were not among them.
        nearly, above = (starts.ceiling * (1.0 + sign * effort.near) for sign in (-1, 1))
        if nearly <= scores.max() <= above:
            rounds = (COOL,)
    for i, plan in enumerate(rounds):
        if i:
            kept = feasible_pool.best(plan.kept // 2, 1)
            kept += merit_pool.best(plan.kept - len(kept), 1)
            u = np.resize(np.array(kept), u.shape)
            u = np.asarray(repair(lattice, _crossed(u, parts, rng)))
        scale[kernels] = 0.7 if plan.moves_depth else 0.0
        scale[depths] = 0.8 + 0.03 * at[depths] if plan.moves_depth else 0.0
        temperatures = worth * rng.permutation(np.geomspace(plan.coolest, plan.hottest, chains))
        noise = draw_noise(problem.seed + i, steps, *u.shape)
        result = anneal(search.form, search.data, lattice, u, prices, scale, temperatures, noise)
        search.candidates += chains * steps
        feasible_pool.add(result.best, result.objective)
        merit_pool.add(result.last, result.merit)
        if _agree(result, feasible_pool, effort):
            break
    found = feasible_pool.best(effort.pairs // 2, 2) + merit_pool.best(effort.pairs // 2, 2)
    if len(feasible_pool.points):
        return found
    return [*found, feasible.smallest_network(prepared), feasible.widest_network(prepared)]


def _agree(result: Chains, pool: "_Pool", effort: Effort) -> bool:
    """Whether chains that did not begin at the starts have found the best network each by itself.

    In small spaces most do so in the first round, and later rounds then find nothing better.
    """
    best = max((value for value, _ in pool.points.values()), default=np.inf)
    apart = result.objective[1::2]
    return int((apart >= best - 1e-12 * abs(best)).sum()) >= effort.agreed


def _crossed(u: np.ndarray, parts: Layout, rng: np.random.Generator) -> np.ndarray:
    """Half of the points with their last stages, from some stage on, taken from another point.

    What one stage may be depends on its neighbours and on what the budgets leave: good beginnings
    and good ends of networks combine.

    Args:
        u: coordinates, (points, 1 + 4 S).
        parts: of the coordinates.
        rng: draws the partners and the cuts.
    """
    if parts.stages == 1:
        return u
    others = u[rng.permutation(len(u))]
    cut = rng.integers(1, parts.stages, size=(len(u), 1))
    stage = np.zeros(parts.size)  # the stem goes with the first
    stage[parts.of_stages] = np.tile(np.arange(parts.stages), 4)
    return np.where((stage >= cut) & (rng.random((len(u), 1)) < 0.5), others, u)


class _Pool:
    """Distinct points with their values."""

    def __init__(self, depths: slice):
        self.points: dict[bytes, tuple[float, np.ndarray]] = {}
        self._depths = depths

    def add(self, points: np.ndarray, values: np.ndarray) -> None:
        for u, value in zip(points, values, strict=True):
            if np.isfinite(value):
                self.points[u.tobytes()] = (float(value), u)

    def best(self, count: int, of_equal_depths: int) -> list[np.ndarray]:
        """The points of greatest value, at most ``of_equal_depths`` for each vector of depths."""
        chosen: list[np.ndarray] = []
        taken: Counter[bytes] = Counter()
        for _, u in sorted(self.points.values(), key=lambda item: -item[0]):
            depths = u[self._depths].tobytes()
            if taken[depths] < of_equal_depths and len(chosen) < count:
                taken[depths] += 1
                chosen.append(u)
        return chosen
