"""Where the relaxed solve begins."""

import numpy as np

from deepmad_jax.design.program.evaluate import data_of, evaluate, form_of
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.relaxation.lagrangian import Box, to_point


def default_start(problem: Problem, box: Box) -> np.ndarray:
    """The middle of the box in log space, at equal depths: a start that needs no luck."""
    middle = 0.5 * (box.low + box.high)
    stages = problem.num_stages
    depths = slice(1 + 3 * stages, 1 + 4 * stages)
    middle[depths] = np.clip(np.log(6.0), box.low[depths], box.high[depths])
    middle[0] = np.clip(np.log(32.0), box.low[0], box.high[0])
    growth = np.linspace(np.log(32.0), np.log(512.0), stages)
    middle[1 : 1 + stages] = np.clip(growth, box.low[1 : 1 + stages], box.high[1 : 1 + stages])
    return np.array(middle)


def random_starts(problem: Problem, box: Box, count: int) -> np.ndarray:
    """The default start and ``count - 1`` random ones around it, shape (count, 1 + 4 S)."""
    base = default_start(problem, box)
    stages = problem.num_stages
    rng = np.random.default_rng(problem.seed)
    noise = rng.normal(scale=0.5, size=(count, base.size))
    # One factor for all depths: unequal ones start at a penalty that swamps everything.
    noise[:, 1 + 3 * stages :] = noise[:, 1 + 3 * stages : 2 + 3 * stages]
    noise[0] = 0.0
    return np.clip(base + noise, box.low, box.high)


def shrink_to_budgets(problem: Problem, box: Box, x: np.ndarray) -> np.ndarray:
    """The point on the segment from the box's low corner to x that just meets the budgets.

    Starts far outside the budgets would let the penalty terms swamp the objective.
    """
    form, data = form_of(problem), data_of(problem)

    def excess(t: float) -> float:
        point = to_point(box.low + t * (x - box.low))
        numbers = evaluate(form, data, point, mode="smooth")
        return max(numbers.macs / data.macs, numbers.params / data.params) - 1.0

    low, high = 0.0, 1.0
    if excess(1.0) <= 0:
        return x
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return np.asarray(box.low + low * (x - box.low))
