"""From the relaxed optimum to an integer design that meets every budget exactly.

Annealed chains from many integer depths around the relaxed ones (`anneal`), then an exact local
search on the best of them: steepest ascent over all single steps and all pairs of steps, with
random kicks. The search only ever keeps feasible points, and the result is checked once more on the
built architecture in whole numbers.
"""

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import jax
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
from deepmad_jax.design.program import COUNTING, Numbers, data_of, evaluate, form_of
from deepmad_jax.design.relax import BUDGETS

if TYPE_CHECKING:
    from deepmad_jax.design.solve import Solution

# Effort of the search, fixed so that every run tries the same candidates.
CHAINS, STEPS = 128, 500  # of every round: one shape, one compilation
KEPT, POLISHED = 32, 12
KICKS, KICKED = 100, 30_000  # random kicks that end the search, and their candidates, at most
# First and last chain's starting temperature in each round, as shares of the relaxed objective. The
# first round keeps the depths it starts from.
ROUNDS = ((2e-3, 2e-3), (1e-3, 2e-2), (1e-3, 1e-2), (2e-4, 3e-3))


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

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``design.json``; numbers unrounded, null where there is no limit."""
        budgets = {name: getattr(self.problem, name) for name in BUDGETS}
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


def round_solution(problem: Problem, solution: "Solution", name: str) -> Design:
    """The best feasible integer network found around a relaxed optimum.

    Raises:
        InfeasibleProblem: the search met no feasible network.
    """
    search = _Search(problem)
    starts = _annealed(search, solution)
    best, value = None, -np.inf
    for u in starts:
        u, polished = search.ascend(u, rich=True)
        if polished > value:
            best, value = u, polished
    assert best is not None
    if not np.isfinite(value) or value <= _INFEASIBLE:
        raise feasible.explain_conflict(problem, search.numbers(best))
    rng = np.random.default_rng(problem.seed)
    enough = search.candidates + KICKED
    for _ in range(KICKS):
        if search.candidates > enough:
            break
        u, polished = search.ascend(search.kick(best, rng), rich=False)
        if polished > value:
            best, value = u, polished
    architecture = problem.architecture(name, to_point(search.lattice, best))
    numbers = search.numbers(best)
    _check(problem, architecture, numbers)
    return Design(problem, architecture, numbers, solution, search.history, search.candidates)


# Scores of infeasible points lie below this, ordered by violation; objectives never do.
_INFEASIBLE = -1e15


class _Search:
    """Steepest ascent on the lattice of one problem, counting candidates."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.form, self.data = form_of(problem), data_of(problem)
        self.lattice = lattice_of(problem)
        self.candidates = 0
        self.history: list[float] = []  # best objective after each improvement of the ascent
        self._moves = {rich: _moves(problem, self.lattice, rich) for rich in (False, True)}

    def numbers(self, u: np.ndarray) -> Numbers:
        return evaluate(self.form, self.data, to_point(self.lattice, u))

    def score(self, u: np.ndarray) -> np.ndarray:
        """Objective where feasible; otherwise below `_INFEASIBLE`, more for less violation."""
        self.candidates += len(u)
        point = to_point(self.lattice, u)
        numbers = evaluate(self.form, self.data, point)
        violation = structural_violation(self.lattice, self.form.monotone, point)
        for budget in BUDGETS:
            over = getattr(numbers, budget) / getattr(self.data, budget) - 1.0
            violation = violation + np.maximum(over, 0.0)
        # Counts are compared as whole numbers, which the ratio's rounding could blur.
        feasible_ = (
            (violation <= 1e-9)
            & (numbers.macs <= self.data.macs)
            & (numbers.params <= self.data.params)
            & (numbers.rho <= self.data.rho)
        )
        infeasible = _INFEASIBLE * (1.0 + np.minimum(violation, 1e6))
        return np.where(feasible_, numbers.objective, infeasible)

    def ascend(self, u: np.ndarray, rich: bool) -> tuple[np.ndarray, float]:
        """The local optimum that steepest ascent over steps and pairs of steps reaches from u."""
        value = float(self.score(u[None])[0])
        while True:
            neighbours = np.asarray(repair(self.lattice, u + self._moves[rich]))
            scores = self.score(neighbours)
            best = int(scores.argmax())
            if scores[best] <= value:
                return u, value
            u, value = neighbours[best], float(scores[best])
            if value > max(self.history, default=_INFEASIBLE):
                self.history.append(value)

    def kick(self, u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """u after a few random steps."""
        moves = self._moves[False]
        for index in rng.choice(len(moves), size=rng.integers(1, 4)):
            u = np.asarray(repair(self.lattice, u + moves[index]))
        return u


def _moves(problem: Problem, lattice: Lattice, rich: bool) -> np.ndarray:
    """All single steps and all pairs of them, shape (moves, 1 + 4 S)."""
    stages = problem.num_stages
    single = [np.zeros(1 + 4 * stages)]  # so that a space of one point has a neighbourhood too
    for i in range(1 + 4 * stages):
        if lattice.low[i] == lattice.high[i]:
            continue
        if problem.fixed_ratio and 1 + stages <= i < 1 + 2 * stages:
            continue
        is_width = i < 1 + 2 * stages
        for size in (1, 2, 4) if rich and is_width else (1,):
            for sign in (1, -1):
                step = np.zeros(1 + 4 * stages)
                step[i] = sign * size
                single.append(step)
    steps = np.array(single)
    first, second = np.triu_indices(len(steps), 1)
    return np.concatenate([steps, steps[first] + steps[second]])


def _annealed(search: _Search, solution: "Solution") -> list[np.ndarray]:
    """Promising points for the local search: ends and best points of annealed chains.

    Half are the best feasible points seen, half the ends of greatest merit, which may overspend by
    parts in a thousand. Few of each share their depths, so that no one vector of depths crowds out
    the others.
    """
    problem, lattice = search.problem, search.lattice
    stages = problem.num_stages
    depths = slice(1 + 3 * stages, 1 + 4 * stages)
    at = nearest(lattice, solution.point)
    rng = np.random.default_rng(problem.seed)

    u = np.repeat(at[None], CHAINS, axis=0)
    spread = np.exp(rng.normal(scale=0.2, size=(CHAINS, stages)))
    jitter = rng.uniform(-1.2, 1.2, size=(CHAINS, stages))
    u[1:, depths] = np.rint(solution.point.depth * spread + jitter)[1:]
    u = np.asarray(repair(lattice, u))

    worth = max(abs(solution.objective), 1.0) if np.isfinite(solution.objective) else 1.0
    prices = np.array([solution.prices[name] for name in BUDGETS])
    prices = np.where(np.isfinite(prices), np.maximum(prices, 0.05 * worth), worth)
    scale = np.concatenate(
        [1.0 + 0.05 * at[: 1 + 2 * stages], np.full(stages, 0.7), np.zeros(stages)]
    )
    feasible_pool, merit_pool = _Pool(depths), _Pool(depths)
    for i, (first, last) in enumerate(ROUNDS):
        noise = draw_noise(problem.seed + i, STEPS, *u.shape)
        temperatures = worth * np.geomspace(first, last, CHAINS)
        with jax.enable_x64(True):
            chains = anneal(
                search.form, search.data, lattice, u, prices, scale, temperatures, noise
            )
            chains = jax.tree.map(np.asarray, chains)
        search.candidates += CHAINS * STEPS
        feasible_pool.add(chains.best, chains.objective)
        merit_pool.add(chains.last, chains.merit)
        kept = feasible_pool.best(KEPT // 2, 1)
        kept += merit_pool.best(KEPT - len(kept), 1)
        u = np.array(kept)[np.arange(CHAINS) % len(kept)]
        scale[depths] = 0.8 + 0.03 * at[depths]
    found = feasible_pool.best(POLISHED // 2, 2) + merit_pool.best(POLISHED // 2, 2)
    if len(feasible_pool.points):
        return found
    cheapest = feasible.smallest_network(lattice, problem)
    return [*found, cheapest, feasible.widest_network(lattice, problem)]


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
