"""From the relaxed optimum to an integer design that meets every budget exactly.

Rounds of annealed chains (`rounds`) begin at whole networks found from relaxed ones (`dive`); then
comes an exact local search (`ascent`) on the best. The search only ever keeps feasible points, and
the result is checked once more on the built architecture in whole numbers.
"""

import dataclasses
from typing import Any

import numpy as np

from deepmad_jax.arch.layers import layer_table
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.evaluate import COUNTING, Numbers, within_limits
from deepmad_jax.design.program.lattice import to_point
from deepmad_jax.design.program.prepared import Prepared
from deepmad_jax.design.program.problem import BUDGETS, Problem
from deepmad_jax.design.relaxation.solve import Solution
from deepmad_jax.design.search.alternatives import best_differing
from deepmad_jax.design.search.ascent import INFEASIBLE, Ascent
from deepmad_jax.design.search.effort import Effort
from deepmad_jax.design.search.rounds import Starts, annealed


@dataclasses.dataclass(frozen=True)
class Alternative:
    """A network that comes after the design.

    Attributes:
        architecture: named after the design, with its number.
        numbers: the program's numbers at it, exact.
    """

    architecture: Architecture
    numbers: Numbers


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
        alternatives: the networks that come next, best first, as many as the problem asks for.
        seconds: wall time of the whole design.
    """

    problem: Problem
    architecture: Architecture
    numbers: Numbers
    solution: Solution
    search: list[float]
    candidates: int
    alternatives: tuple[Alternative, ...] = ()
    seconds: float = 0.0

    @property
    def extra(self) -> dict[str, float]:
        """What the design uses of each further limit that is set."""
        return used_of_extras(self.problem, self.numbers)

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``design.json``; numbers unrounded, null where there is no limit."""
        names = (*BUDGETS, *self.problem.extras)
        budgets = {name: getattr(self.problem, name) for name in names}
        results = {
            "name": self.architecture.name,
            **numbers_of_design(self.problem, self.numbers),
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
        if self.problem.alternatives:
            results["alternatives"] = records_of(self.problem, self.alternatives)
        return results


def used_of_extras(problem: Problem, numbers: Numbers) -> dict[str, float]:
    """What a network uses of each further limit that is set."""
    used = (float(extra.max()) for extra in numbers.extra)
    return dict(zip(problem.extras, used, strict=True))


def numbers_of_design(problem: Problem, numbers: Numbers) -> dict[str, Any]:
    """The program's numbers at one network, as ``design.json`` has them."""
    weights = problem.level_weights
    return {
        "objective": float(numbers.objective),
        "entropy": float(numbers.entropy),
        "entropy_per_level": [float(h) for h in numbers.entropy_per_level[-len(weights) :]],
        "alpha": list(weights),
        "rho": float(numbers.rho),
        "depth_penalty": float(numbers.penalty),
        "params": int(numbers.params),
        "macs": int(numbers.macs),
        **used_of_extras(problem, numbers),
    }


def records_of(problem: Problem, alternatives: tuple[Alternative, ...]) -> list[dict[str, Any]]:
    """The networks that come after a design, as ``design.json`` has them."""
    return [
        {
            **numbers_of_design(problem, other.numbers),
            "architecture": other.architecture.to_dict(),
        }
        for other in alternatives
    ]


def networks_of(search: Ascent, points: list[np.ndarray], name: str) -> list[Alternative]:
    """The networks at lattice coordinates, counted once more in whole numbers, with their numbers.

    Args:
        search: of the problem.
        points: feasible coordinates.
        name: of the first; the others have their number after it.
    """
    found = []
    for i, u in enumerate(points):
        numbers = search.numbers(u)
        architecture = search.prepared.problem.architecture(
            f"{name}_{i}" if i else name, to_point(search.lattice, u)
        )
        _check(search.prepared, architecture, numbers)
        found.append(Alternative(architecture, numbers))
    return found


def round_solution(
    prepared: Prepared, solution: Solution, starts: Starts, name: str, effort: Effort
) -> Design:
    """The best feasible integer network found around a relaxed optimum.

    Args:
        prepared, solution: what was solved, and its optimum.
        starts: whole networks to begin from.
        name: of the architecture.
        effort: how much to try.

    Raises:
        InfeasibleProblem: the search met no feasible network.
    """
    problem, search = prepared.problem, Ascent(prepared)
    ascended = [search.ascend(u, 2) for u in annealed(search, solution, starts, effort)]
    ascended.sort(key=lambda pair: -pair[1])
    leaders = [search.ascend(u, 3) for u, _ in ascended[: effort.triples]]
    best, value = max(leaders or ascended, key=lambda pair: pair[1])
    if value <= INFEASIBLE:
        raise feasible.explain_conflict(problem, search.numbers(best))
    found = [best]
    if problem.alternatives:
        known = [u for u, score in (*leaders, *ascended) if score > INFEASIBLE]
        found = best_differing(search, known, problem.alternatives + 1)
    first, *others = networks_of(search, found, name)
    return Design(
        problem,
        first.architecture,
        first.numbers,
        solution,
        search.history,
        search.candidates,
        tuple(others),
    )


def _check(prepared: Prepared, architecture: Architecture, numbers: Numbers) -> None:
    """The design's budgets in exact whole numbers from the built architecture's own table."""
    rows = layer_table(architecture)
    params_of, macs_of = COUNTING[prepared.problem.convention]
    params, macs = params_of(rows), macs_of(rows)
    assert params == numbers.params, (params, numbers.params)
    assert macs == numbers.macs, (macs, numbers.macs)
    assert within_limits(prepared.form, prepared.data, numbers)
