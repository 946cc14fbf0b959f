"""The perceptron program relaxed: an augmented Lagrangian over log widths and log depths.

The outer loop is that of `relaxation.solve`; the objective is log H, whose Lagrangian is bounded
below.
"""

import jax
import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.perceptron.problem import MlpProblem
from deepmad_jax.design.perceptron.program import (
    MlpData,
    MlpNumbers,
    evaluate_mlp,
    split,
)
from deepmad_jax.design.program.arrays import Array, namespace
from deepmad_jax.design.program.box import Box
from deepmad_jax.design.relaxation.lagrangian import MAX_VIOLATION, constrained_minimum

STARTS = 8
# Below a depth of 1 the repeated layers cost less than nothing. Unweighted, the box could not keep
# all starts from ending there, unsolved (tests/design/perceptron).
BOX_WEIGHT = 10.0


def solve_relaxed_mlp(
    problem: MlpProblem, data: MlpData
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local optima of the relaxed program from `STARTS` starts, one row each.

    Returns:
        x: log widths, then log depths, shape (starts, 2 S).
        entropy: at them, nats, (starts,).
        solved: whether no constraint is exceeded by more than `MAX_VIOLATION`, (starts,).
    """
    box = _box_of(problem)
    with jax.enable_x64(True):
        results = _solve_starts(data, box, _starts(problem, data, box))
        x, entropy, violation = jax.tree.map(np.asarray, results)
    solved = np.isfinite(x).all(-1) & np.isfinite(entropy) & (violation <= MAX_VIOLATION)
    return np.where(np.isfinite(x), x, box.low), entropy, solved


@jax.jit
def _solve_starts(data: MlpData, box: Box, starts: Array):  # type: ignore[no-untyped-def]
    return jax.lax.map(lambda start: _solve_one(data, box, start), starts)


def _solve_one(data: MlpData, box: Box, start: Array):  # type: ignore[no-untyped-def]
    def program(x: Array) -> tuple[Array, Array, Array]:
        numbers = _relaxed(data, x)
        return -_log_entropy(numbers, x), _constraints(data, box, x, numbers), numbers.entropy

    found = constrained_minimum(program, box, start)
    return found.x, found.records[-1], found.violations[-1]


def _relaxed(data: MlpData, x: Array) -> MlpNumbers:
    return evaluate_mlp(data, *split(namespace(x).exp(x)))


def _log_entropy(numbers: MlpNumbers, x: Array) -> Array:
    """log H, carried on smoothly to where H is not positive (widths below 1, outside any box).

    H itself would leave the augmented Lagrangian unbounded below: one width shrinking outside the
    box makes room for another, and H grows like its exponential, the box's penalty like a square.
    """
    log_last_width = x[x.size // 2 - 1]
    sum_log = numbers.entropy * jnp.exp(-log_last_width)
    small = 0.1
    positive = jnp.maximum(sum_log, small)
    return log_last_width + jnp.log(positive) + (sum_log - positive) / small


def _constraints(data: MlpData, box: Box, x: Array, numbers: MlpNumbers) -> Array:
    """g(x), feasible where no entry is positive. Ratios, not their logs: see `relaxation`."""
    budgets = jnp.stack([numbers.params / data.params, numbers.rho / data.rho]) - 1.0
    return jnp.concatenate([budgets, BOX_WEIGHT * (box.low - x), BOX_WEIGHT * (x - box.high)])


def _box_of(problem: MlpProblem) -> Box:
    units, ones = problem.width_units, np.ones(problem.num_stages)
    low, high = (
        np.log(np.concatenate([unit * problem.multiple_of * ones, depth * ones]))
        for unit, depth in zip(units, (problem.min_depth, problem.max_depth), strict=True)
    )
    return Box(low, high, np.float64(0.0))


def _starts(problem: MlpProblem, data: MlpData, box: Box) -> np.ndarray:
    """Random points of the box, the first its middle, drawn to its low corner into the params."""
    rng = np.random.default_rng(problem.seed)
    share = rng.random((STARTS, box.low.size))
    share[0] = 0.5
    # Farther out the penalty terms would swamp the entropy.
    t = np.linspace(0.0, 1.0, 101)[:, None, None]
    x = box.low + t * share * (box.high - box.low)
    inside = evaluate_mlp(data, *split(np.exp(x))).params <= data.params
    last = np.maximum(inside.sum(0) - 1, 0)  # params grow with t, so those inside come first
    return np.asarray(x[last, np.arange(STARTS)])
