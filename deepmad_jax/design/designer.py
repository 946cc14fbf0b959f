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
    prepared = prepare(problem)
    with one_thread():
        feasible.check_floors(prepared)
        solution = relaxed_optimum(prepared)
        starts = _starts(prepared, solution, effort)
        design = round_solution(prepared, solution, starts, name, effort)
    return dataclasses.replace(design, seconds=time.perf_counter() - began)


def _starts(prepared: Prepared, solution: Solution, effort: Effort) -> Starts:
    """Whole networks to begin the integer search from."""
    problem, lattice = prepared.problem, prepared.lattice
    if problem.convention == "paper":
        fixed = FixedChoices(prepared)
        choices = leading_choices(prepared, fixed, solution.x, effort.choices)
        points = dive(prepared, fixed, choices, effort.beam)
        return Starts(points, float(choices.value[0]))
    # Another way of counting: the relaxed optima at depths a block away.
    low, high = (ends[prepared.layout.depth] for ends in (lattice.low, lattice.high))
    steps = np.diff(np.eye(problem.num_stages), axis=0)
    near = np.clip(np.rint(solution.point.depth), low, high)
    vectors = np.concatenate([near[None], near + steps, near - steps])
    inside = ((vectors >= low) & (vectors <= high)).all(-1)
    optima = sorted(solve_at_depths(prepared, solution, vectors[inside]), key=lambda pair: -pair[0])
    leading = [nearest(lattice, point) for _, point in optima[:LEADING_VECTORS]]
    return Starts(np.array(leading), np.inf)
