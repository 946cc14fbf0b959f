"""Problem -> Design: the one public road through the relaxation and the integer search.

A relaxed optimum (`relaxation`), whole networks near the relaxed optima of the most promising
choices (`search.choices`, `search.dive`), and the search in whole numbers from them
(`search.projection`).
"""

import dataclasses
import time

import numpy as np

from deepmad_jax.design.program import feasible
from deepmad_jax.design.program.lattice import nearest
from deepmad_jax.design.program.prepared import Prepared, prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.threads import one_thread
from deepmad_jax.design.relaxation.solve import Solution, relaxed_optimum, solve_at_depths
from deepmad_jax.design.search.choices import leading_choices
from deepmad_jax.design.search.dive import dive
from deepmad_jax.design.search.effort import FULL, Effort
from deepmad_jax.design.search.fixed_choices import FixedChoices
from deepmad_jax.design.search.projection import Design, round_solution
from deepmad_jax.design.search.rounds import Starts
from deepmad_jax.errors import InfeasibleProblem

LEADING_VECTORS = 5  # of depths, that the search begins from where `fixed_choices` does not apply


def design_network(problem: Problem, name: str = "design", effort: Effort = FULL) -> Design:
    """The integer network of greatest objective found within the budgets.

    Deterministic: the same problem gives the same bits.

    Args:
        problem: the space, weights and budgets.
        name: of the resulting architecture.
        effort: how much to try; see `search.effort.Effort`.
    Raises:
        InfeasibleProblem: no network in the space meets the budgets; the message names the
            constraint and the best value that can be reached.
    """
    began = time.perf_counter()
    best: Design | None = None
    with one_thread():
        for prepared, solution in _relaxed(problem):
            # What a choice of kinds can reach at most is what it reaches relaxed.
            if best is not None and solution.objective < best.numbers.objective:
                continue
            starts = _starts(prepared, solution, effort)
            try:
                design = round_solution(prepared, solution, starts, name, effort)
            except InfeasibleProblem as error:
                failed = error
                continue
            if best is None or design.numbers.objective > best.numbers.objective:
                best = design
    if best is None:
        raise failed
    return dataclasses.replace(best, seconds=time.perf_counter() - began)


def _relaxed(problem: Problem) -> list[tuple[Prepared, Solution]]:
    """Each choice of kinds with its relaxed optimum, the most promising first.

    Raises:
        InfeasibleProblem: none can meet its budgets; where kinds are open, of the last one.
    """
    found = []
    for settled in problem.settlements:
        prepared = prepare(settled)
        try:
            feasible.check_floors(prepared)
        except InfeasibleProblem as error:
            failed = error
            continue
        found.append((prepared, relaxed_optimum(prepared)))
    if not found:
        raise failed
    # A solve that did not converge says nothing: it is tried, last.
    return sorted(found, key=lambda pair: np.nan_to_num(-pair[1].objective, nan=np.inf))


def _starts(prepared: Prepared, solution: Solution, effort: Effort) -> Starts:
    """Whole networks to begin the integer search from."""
    problem, lattice = prepared.problem, prepared.lattice
    if problem.convention == "paper":
        fixed = FixedChoices(prepared)
        choices = leading_choices(prepared, fixed, solution.x, effort.choices)
        begins = [
            np.arange(len(choices.value)),
            *np.arange(len(choices.value))[: effort.alone, None],
        ]
        points = [dive(prepared, fixed, choices.taken(which), effort.beam) for which in begins]
        return Starts(np.unique(np.concatenate(points), axis=0), float(choices.value[0]))
    # Another way of counting: the relaxed optima at depths a block away.
    low, high = (ends[prepared.layout.depth] for ends in (lattice.low, lattice.high))
    steps = np.diff(np.eye(problem.num_stages), axis=0)
    near = np.clip(np.rint(solution.point.depth), low, high)
    vectors = np.concatenate([near[None], near + steps, near - steps])
    inside = ((vectors >= low) & (vectors <= high)).all(-1)
    optima = sorted(solve_at_depths(prepared, solution, vectors[inside]), key=lambda pair: -pair[0])
    leading = [nearest(lattice, point) for _, point in optima[:LEADING_VECTORS]]
    return Starts(np.array(leading), np.inf)
