"""The perceptron program in whole numbers: exact steps from the relaxed optima, and random kicks.

Coordinates u, shape (..., 2 S), are widths / multiple_of, then depths. The last width never needs
searching: H grows with it and rho does not, so it is the greatest that the params allow. The other
coordinates climb by steps in three of them at a time, or in two where there are many.
"""

import itertools
import math

import numpy as np

from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.perceptron.program import MlpData, evaluate_mlp, split
from deepmad_jax.design.program.evaluate import REAL_SLACK
from deepmad_jax.errors import InfeasibleProblem

# Random kicks from the best point that end the search, and sizes of a step.
KICKS = 10
LADDER = (0, 1, -1, 2, -2, 4, -4, 8, -8, 16, -16)

# Scores of points that meet not all budgets lie below this.
_INFEASIBLE = -1e15


def search_mlp(problem: MlpProblem, data: MlpData, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Coordinates of the best feasible network, and the number of candidates tried."""
    rng = np.random.default_rng(problem.seed)
    starts = np.exp(x) / np.repeat([problem.multiple_of, 1.0], problem.num_stages)
    starts = np.concatenate([np.floor(starts), np.rint(starts)])
    moves = _moves(problem)
    best, value, candidates = starts[0], -np.inf, 0
    # The relaxed optima first, then kicks from whatever is best.
    for i in range(len(starts) + KICKS):
        u = starts[i] if i < len(starts) else best + moves[rng.integers(len(moves), size=3)].sum(0)
        u, reached, tried = _climb(problem, data, moves, u)
        candidates += tried
        if reached > value:
            best, value = u, reached
    if value <= _INFEASIBLE:
        raise _conflict(problem, data, best)
    return best, candidates


def _climb(
    problem: MlpProblem, data: MlpData, moves: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, float, int]:
    """The point that steepest ascent over ``moves`` reaches, its score, and candidates tried."""
    u = _complete(problem, data, u[None])[0]
    value, candidates = float(_score(problem, data, u[None])[0]), 1
    while True:
        around = _complete(problem, data, u + moves)
        scores = _score(problem, data, around)
        candidates += len(around)
        i = int(scores.argmax())
        if scores[i] <= value:
            return u, value, candidates
        u, value = around[i], float(scores[i])


def _moves(problem: MlpProblem) -> np.ndarray:
    """Steps of the ladder's sizes in every three (or two) coordinates but the last width."""
    stages = problem.num_stages
    free = [i for i in range(2 * stages) if i != stages - 1]
    # With many stages all triples would be hundreds of thousands of steps; pairs then serve.
    together = min(3 if len(free) <= 5 else 2, len(free))
    sizes = np.array(list(itertools.product(LADDER, repeat=together)), dtype=np.float64)
    moves = np.zeros((0, 2 * stages))
    for chosen in itertools.combinations(free, together):
        block = np.zeros((len(sizes), 2 * stages))
        block[:, chosen] = sizes
        moves = np.concatenate([moves, block])
    return np.unique(moves, axis=0)


def _complete(problem: MlpProblem, data: MlpData, u: np.ndarray) -> np.ndarray:
    """u within its bounds, with the greatest last width that the params allow, shape (n, 2 S)."""
    stages, (low, high) = problem.num_stages, problem.width_units
    least = np.concatenate([np.full(stages, low), np.full(stages, problem.min_depth)])
    most = np.concatenate([np.full(stages, high), np.full(stages, problem.max_depth)])
    u = np.clip(np.rint(u), least, most)
    if math.isinf(problem.params):
        u[:, stages - 1] = high
        return u
    # params = a c^2 + b c + rest in the last width c, where a counts its repeated layers.
    rest = u.copy()
    rest[:, stages - 1] = 0.0
    before = rest[:, stages - 2] * problem.multiple_of if stages > 1 else data.input_width
    a = u[:, -1] - 1.0
    b = before + 1.0 + a + problem.classes
    used = _params_without_last(problem, data, u)
    left = np.maximum(problem.params - used, 0.0)
    # The stable root of a c^2 + b c = left, which also serves where a is 0.
    c = 2.0 * left / (b + np.sqrt(b * b + 4.0 * a * left))
    u[:, stages - 1] = np.clip(np.floor(c / problem.multiple_of + 1e-9), low, high)
    return u


def _params_without_last(problem: MlpProblem, data: MlpData, u: np.ndarray) -> np.ndarray:
    """Params of all stages but the last, and the classifier's biases."""
    width, depth = split(u)
    width, depth = width[:, :-1] * problem.multiple_of, depth[:, :-1]
    if not width.shape[1]:
        return np.full(len(u), float(problem.classes))
    numbers = evaluate_mlp(data, width, depth)
    return np.asarray(numbers.params - width[:, -1] * problem.classes)


def _score(problem: MlpProblem, data: MlpData, u: np.ndarray) -> np.ndarray:
    """Entropy where feasible; otherwise below `_INFEASIBLE`, more for less excess."""
    width, depth = split(u)
    numbers = evaluate_mlp(data, width * problem.multiple_of, depth)
    over = np.maximum(numbers.params / problem.params - 1.0, 0.0)
    over = over + np.maximum(numbers.rho / problem.rho - 1.0, 0.0)
    met = (numbers.params <= problem.params) & (numbers.rho <= problem.rho * (1.0 + REAL_SLACK))
    return np.where(met, numbers.entropy, _INFEASIBLE * (1.0 + np.minimum(over, 1e6)))


def _conflict(problem: MlpProblem, data: MlpData, closest: np.ndarray) -> InfeasibleProblem:
    width, depth = split(closest)
    numbers = evaluate_mlp(data, width * problem.multiple_of, depth)
    return InfeasibleProblem(
        f"No MLP was found with at most {problem.params:,.0f} parameters and rho at most "
        f"{problem.rho:.4g}: the closest has {numbers.params:,.0f} parameters and rho "
        f"{numbers.rho:.4g}. Raise params or rho, or lower the minimum depth or num_stages."
    )
