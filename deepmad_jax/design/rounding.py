"""From the relaxed optimum to an integer design that meets every budget exactly.

Rounds of annealed chains (`anneal`), the first from many integer depths around the relaxed ones,
the next from the best points so far and from crosses of them; then an exact local search on the
best: steepest ascent over all pairs of steps, then over all triples. The search only ever keeps
feasible points, and the result is checked once more on the built architecture in whole numbers.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design import feasible
from deepmad_jax.design.anneal import anneal, draw_noise
from deepmad_jax.design.lattice import (
    Lattice,
    lattice_of,
    nearest,
    repair,
    structural_violation,
    to_point,
)
from deepmad_jax.design.problem import Problem
from deepmad_jax.design.program import COUNTING, Numbers, Point, data_of, evaluate, form_of, spent
from deepmad_jax.design.relax import BUDGETS

if TYPE_CHECKING:
    from deepmad_jax.design.solve import Solution


class Round(NamedTuple):
    """One round of annealing.

    Attributes:
        kept: distinct vectors of depths that the chains start from; unused in the first round.
        moves_depth: whether chains may change depths and kernels, or widths alone.
        coolest, hottest: least and greatest starting temperature, shares of the relaxed objective.
        relaxed: vectors of depths whose own relaxed optima some chains start from.
            Those a block away from the best one's depths are tried with them.
    """

    kept: int
    moves_depth: bool
    coolest: float
    hottest: float
    relaxed: int = 0


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much the search tries; fixed numbers, so that every run tries the same candidates.

    Attributes:
        starts: of the relaxed solve.
        chains, steps: of each round of annealing; one shape, one compilation.
        rounds: see `Round`.
        pairs, triples: points that get the ascent over pairs of steps, then over triples.
    """

    starts: int
    chains: int
    steps: int
    rounds: tuple[Round, ...]
    pairs: int
    triples: int


# Free moves from many depths, cooler and from fewer points each time; then widths alone for the
# leading depths; last a cool round free to move again.
FULL = Effort(
    starts=2,
    chains=256,
    steps=550,
    rounds=(
        Round(0, True, 2e-3, 2e-2),
        Round(64, True, 1e-3, 1e-2),
        Round(32, True, 5e-4, 5e-3),
        Round(16, False, 5e-4, 4e-3, relaxed=4),
        Round(8, True, 2e-4, 2e-3),
    ),
    pairs=8,
    triples=1,
)
QUICK = Effort(
    starts=1,
    chains=128,
    steps=250,
    rounds=tuple(plan._replace(relaxed=min(plan.relaxed, 1)) for plan in FULL.rounds),
    pairs=2,
    triples=0,
)
"""For sweeps: about a third of the work of `FULL`."""


@dataclasses.dataclass(frozen=True)
class Design:
    """An integer design and how it was found.

    Attributes:
        problem: what was asked.
        architecture: the answer.
        numbers: the program's numbers at it, exact.
        solution: the relaxed optimum it was rounded from.
        search: best objective after each improvement of the local search.
        candidates: integer networks evaluated.
        seconds: wall time of the whole design.
    """

    problem: Problem
    architecture: Architecture
    numbers: Numbers
    solution: "Solution"
    search: list[float]
    candidates: int
    seconds: float = 0.0

    @property
    def extra(self) -> dict[str, float]:
        """What the design uses of each further limit that is set."""
        used = (float(extra.max()) for extra in self.numbers.extra)
        return dict(zip(self.problem.extras, used, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``design.json``; numbers unrounded, null where there is no limit."""
        names = (*BUDGETS, *self.problem.extras)
        budgets = {name: getattr(self.problem, name) for name in names}
        n = self.numbers
        return {
            "name": self.architecture.name,
            "objective": float(n.objective),
            "entropy": float(n.entropy),
            "entropy_per_level": [float(h) for h in n.entropy_per_level],
            "alpha": list(self.problem.level_weights),
            "rho": float(n.rho),
            "depth_penalty": float(n.penalty),
            "params": int(n.params),
            "macs": int(n.macs),
            **self.extra,
            "budgets": {name: b if np.isfinite(b) else None for name, b in budgets.items()},
            "relaxed_objective": self.solution.objective if self.solution.converged else None,
            "upper_bound": None,
            "gap": None,
            "multipliers": {name: p / 100.0 for name, p in self.solution.prices.items()},
            "convention": self.problem.convention,
            "seconds": self.seconds,
            "starts": self.solution.starts,
            "candidates": self.candidates,
            "seed": self.problem.seed,
            "convergence": {**self.solution.convergence, "search": self.search},
        }


def round_solution(
    problem: Problem,
    solution: "Solution",
    relax: Callable[[np.ndarray], list[tuple[float, Point]]],
    name: str,
    effort: Effort = FULL,
) -> Design:
    """The best feasible integer network found around a relaxed optimum.

    Args:
        problem, solution: what was solved, and its optimum.
        relax: gives the relaxed optima at vectors of fixed depths, shape (vectors, S).
        name: of the architecture.
        effort: how much to try.

    Raises:
        InfeasibleProblem: the search met no feasible network.
    """
    search = _Search(problem)
    ascended = [search.ascend(u, 2) for u in _annealed(search, solution, relax, effort)]
    ascended.sort(key=lambda pair: -pair[1])
    leaders = [search.ascend(u, 3) for u, _ in ascended[: effort.triples]]
    best, value = max(leaders or ascended, key=lambda pair: pair[1])
    if value <= _INFEASIBLE:
        raise feasible.explain_conflict(problem, search.numbers(best))
    architecture = problem.architecture(name, to_point(search.lattice, best))
    numbers = search.numbers(best)
    _check(problem, architecture, numbers)
    return Design(problem, architecture, numbers, solution, search.history, search.candidates)


# Scores of infeasible points lie below this, ordered by violation; objectives never do.
_INFEASIBLE = -1e15
MAX_MOVES = 25_000  # of one neighbourhood: triples up to six stages


class _Search:
    """Steepest ascent on the lattice of one problem, counting candidates."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.form, self.data = form_of(problem), data_of(problem)
        self.lattice = lattice_of(problem)
        self.candidates = 0
        self.history: list[float] = []  # best objective after each improvement of the ascent
        self._steps = _steps(problem, self.lattice)
        self._moves: dict[int, np.ndarray] = {}

    def numbers(self, u: np.ndarray) -> Numbers:
        return evaluate(self.form, self.data, to_point(self.lattice, u))

    def score(self, u: np.ndarray) -> np.ndarray:
        """Objective where feasible; otherwise below `_INFEASIBLE`, more for less violation."""
        self.candidates += len(u)
        point = to_point(self.lattice, u)
        numbers = evaluate(self.form, self.data, point)
        violation = structural_violation(self.lattice, self.form.monotone, point)
        violation = violation + np.maximum(spent(self.data, numbers) - 1.0, 0.0).sum(-1)
        # Counts are compared as whole numbers, which the ratio's rounding could blur.
        feasible_ = (
            (violation <= 1e-9)
            & (numbers.macs <= self.data.macs)
            & (numbers.params <= self.data.params)
            & (numbers.rho <= self.data.rho)
        )
        infeasible = _INFEASIBLE * (1.0 + np.minimum(violation, 1e6))
        return np.where(feasible_, numbers.objective, infeasible)

    def ascend(self, u: np.ndarray, at_once: int) -> tuple[np.ndarray, float]:
        """The local optimum that steepest ascent over up to ``at_once`` steps reaches from u."""
        value = float(self.score(u[None])[0])
        if at_once not in self._moves:
            self._moves[at_once] = _sums(self._steps, at_once)
        while True:
            neighbours = np.asarray(repair(self.lattice, u + self._moves[at_once]))
            scores = self.score(neighbours)
            best = int(scores.argmax())
            if scores[best] <= value:
                return u, value
            u, value = neighbours[best], float(scores[best])
            if value > max(self.history, default=_INFEASIBLE):
                self.history.append(value)


def _steps(problem: Problem, lattice: Lattice) -> np.ndarray:
    """Every single step of one coordinate up or down, (steps, 1 + 4 S)."""
    stages = problem.num_stages
    free = lattice.low < lattice.high
    if problem.fixed_ratio:
        free[1 + stages : 1 + 2 * stages] = False
    unit = np.eye(1 + 4 * stages)[free]
    return np.concatenate([unit, -unit])


def _sums(steps: np.ndarray, count: int) -> np.ndarray:
    """All sums of up to ``count`` distinct steps, nothing included; at most `MAX_MOVES` of them."""
    sums = [np.zeros((1, steps.shape[1]))]
    for size in range(1, count + 1):
        if math.comb(len(steps), size) > MAX_MOVES:
            break
        chosen = np.array(list(itertools.combinations(range(len(steps)), size)), dtype=int)
        sums.append(steps[chosen.reshape(-1, size)].sum(axis=1))
    return np.concatenate(sums)


def _annealed(
    search: _Search,
    solution: "Solution",
    relax: Callable[[np.ndarray], list[tuple[float, Point]]],
    effort: Effort,
) -> list[np.ndarray]:
    """Promising points for the local search: ends and best points of annealed chains.

    Half are the best feasible points seen, half the ends of greatest merit, which may overspend by
    parts in a thousand. Few of each share their depths, so that no one vector of depths crowds out
    the others.
    """
    problem, lattice, chains = search.problem, search.lattice, effort.chains
    stages = problem.num_stages
    kernels, depths = slice(1 + 2 * stages, 1 + 3 * stages), slice(1 + 3 * stages, 1 + 4 * stages)
    at = nearest(lattice, solution.point)
    rng = np.random.default_rng(problem.seed)

    u = np.repeat(at[None], chains, axis=0)
    spread = np.exp(rng.normal(scale=0.2, size=(chains, stages)))
    jitter = rng.uniform(-1.2, 1.2, size=(chains, stages))
    u[1:, depths] = np.rint(solution.point.depth * spread + jitter)[1:]
    # A quarter starts from other widths: on a coarse lattice the best ones may lie far off.
    widths = slice(0, 1 + 2 * stages)
    far = np.exp(rng.normal(scale=0.35, size=(chains // 4, 1 + 2 * stages)))
    u[-len(far) :, widths] = np.rint(u[-len(far) :, widths] * far)
    u = np.asarray(repair(lattice, u))

    worth = max(abs(solution.objective), 1.0) if np.isfinite(solution.objective) else 1.0
    prices = np.array([solution.prices[name] for name in (*BUDGETS, *problem.extras)])
    prices = np.where(np.isfinite(prices), np.maximum(prices, 0.05 * worth), worth)
    scale = np.concatenate(
        [1.0 + 0.05 * at[: 1 + 2 * stages], np.full(stages, 0.7), np.zeros(stages)]
    )
    feasible_pool, merit_pool = _Pool(depths), _Pool(depths)
    for i, plan in enumerate(effort.rounds):
        if i:
            kept = feasible_pool.best(plan.kept // 2, 1)
            kept += merit_pool.best(plan.kept - len(kept), 1)
            u = np.array(kept)[np.arange(chains) % len(kept)]
            u = np.asarray(repair(lattice, _crossed(u, stages, rng)))
            if plan.relaxed:
                # Annealed widths remember the depths they came from: the leading depths' own
                # relaxed widths are where a third of the chains begin.
                leading = [*feasible_pool.best(1, 1), *merit_pool.best(plan.relaxed, 1)]
                vectors = [each[depths] for each in leading]
                # Chains seldom get from one good vector of depths to the next, as all widths change
                # with it; its relaxed optimum tells at once.
                vectors += [vectors[0] + shift for shift in _exchanges(stages)]
                low, high = lattice.low[depths], lattice.high[depths]
                inside = [v for v in vectors if (v >= low).all() and (v <= high).all()]
                optima = sorted(relax(np.unique(inside, axis=0)), key=lambda pair: -pair[0])
                points = [nearest(lattice, point) for _, point in optima[: 1 + plan.relaxed]]
                for chain in range(0, chains if points else 0, 3):
                    u[chain] = points[chain // 3 % len(points)]
        scale[kernels] = 0.7 if plan.moves_depth else 0.0
        scale[depths] = 0.8 + 0.03 * at[depths] if plan.moves_depth else 0.0
        temperatures = worth * rng.permutation(np.geomspace(plan.coolest, plan.hottest, chains))
        noise = draw_noise(problem.seed + i, effort.steps, *u.shape)
        result = anneal(search.form, search.data, lattice, u, prices, scale, temperatures, noise)
        search.candidates += chains * effort.steps
        feasible_pool.add(result.best, result.objective)
        merit_pool.add(result.last, result.merit)
    found = feasible_pool.best(effort.pairs // 2, 2) + merit_pool.best(effort.pairs // 2, 2)
    if len(feasible_pool.points):
        return found
    cheapest = feasible.smallest_network(lattice, problem)
    return [*found, cheapest, feasible.widest_network(lattice, problem)]


def _crossed(u: np.ndarray, stages: int, rng: np.random.Generator) -> np.ndarray:
    """Half of the points with their last stages, from some stage on, taken from another point.

    What one stage may be depends on its neighbours and on what the budgets leave: good beginnings
    and good ends of networks combine.

    Args:
        u: coordinates, (points, 1 + 4 S).
        stages: S.
    """
    if stages == 1:
        return u
    others = u[rng.permutation(len(u))]
    cut = rng.integers(1, stages, size=(len(u), 1))
    stage = np.concatenate([[0], np.tile(np.arange(stages), 4)])  # the stem goes with the first
    return np.where((stage >= cut) & (rng.random((len(u), 1)) < 0.5), others, u)


def _exchanges(stages: int) -> np.ndarray:
    """A block from one stage to the next or the one before, (2 (S - 1), S)."""
    steps = np.eye(stages)[1:] - np.eye(stages)[:-1]
    return np.concatenate([steps, -steps])


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


def _check(problem: Problem, architecture: Architecture, numbers: Numbers) -> None:
    """The design's budgets in exact whole numbers from the built architecture's own table."""
    rows = layer_table(architecture)
    params_of, macs_of = COUNTING[problem.convention]
    params, macs = params_of(rows), macs_of(rows)
    assert params == numbers.params, (params, numbers.params)
    assert macs == numbers.macs, (macs, numbers.macs)
    assert params <= problem.params
    assert macs <= problem.macs
    assert numbers.rho <= problem.rho
    for name, extra in zip(problem.extras, numbers.extra, strict=True):
        assert extra.max() <= getattr(problem, name) * (1 + 1e-9), name
