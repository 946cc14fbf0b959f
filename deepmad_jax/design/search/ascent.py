"""Exact local search on the lattice: steepest ascent over all sums of a few steps."""

import itertools
import math

import numpy as np

from deepmad_jax.design.program.evaluate import Numbers, evaluate, spent, within_limits
from deepmad_jax.design.program.lattice import repair, structural_violation, to_point
from deepmad_jax.design.program.prepared import Prepared

INFEASIBLE = -1e15
"""Scores of infeasible points lie below this, ordered by violation; objectives never do."""

MAX_MOVES = 25_000  # of one neighbourhood: triples up to six stages


class Ascent:
    """Steepest ascent on the lattice of one problem, counting candidates.

    Attributes:
        prepared, form, data, lattice: the problem.
        candidates: integer networks evaluated.
        history: best objective after each improvement of the ascent.
    """

    def __init__(self, prepared: Prepared):
        self.prepared = prepared
        self.form, self.data = prepared.form, prepared.data
        self.lattice = prepared.lattice
        self.candidates = 0
        self.history: list[float] = []
        self._steps = _steps(prepared)
        self._moves: dict[int, np.ndarray] = {}

    def numbers(self, u: np.ndarray) -> Numbers:
        return evaluate(self.form, self.data, to_point(self.lattice, u))

    def score(self, u: np.ndarray) -> np.ndarray:
        """Objective where feasible; otherwise below `INFEASIBLE`, more for less violation."""
        self.candidates += len(u)
        point = to_point(self.lattice, u)
        numbers = evaluate(self.form, self.data, point)
        violation = structural_violation(self.lattice, self.data.monotone, point)
        feasible = (violation <= 1e-9) & within_limits(self.form, self.data, numbers)
        violation = violation + np.maximum(spent(self.data, numbers) - 1.0, 0.0).sum(-1)
        infeasible = INFEASIBLE * (1.0 + np.minimum(violation, 1e6))
        return np.where(feasible, numbers.objective, infeasible)

    def around(self, u: np.ndarray, at_once: int) -> tuple[np.ndarray, np.ndarray]:
        """Networks up to ``at_once`` steps from u, u among them, and their scores."""
        if at_once not in self._moves:
            self._moves[at_once] = _sums(self._steps, at_once)
        neighbours = np.asarray(repair(self.lattice, u + self._moves[at_once]))
        return neighbours, self.score(neighbours)

    def ascend(self, u: np.ndarray, at_once: int) -> tuple[np.ndarray, float]:
        """The local optimum that steepest ascent over up to ``at_once`` steps reaches from u."""
        value = float(self.score(u[None])[0])
        while True:
            neighbours, scores = self.around(u, at_once)
            best = int(scores.argmax())
            # In this form it also ends where a score is no number.
            if not scores[best] > value:
                return u, value
            u, value = neighbours[best], float(scores[best])
            if value > max(self.history, default=INFEASIBLE):
                self.history.append(value)


def _steps(prepared: Prepared) -> np.ndarray:
    """Every single step of one coordinate up or down, (steps, 1 + 4 S)."""
    free = prepared.lattice.low < prepared.lattice.high
    if prepared.problem.fixed_ratio:
        free[prepared.layout.inner] = False
    unit = np.eye(prepared.layout.size)[free]
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
