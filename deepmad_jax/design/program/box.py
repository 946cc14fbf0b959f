"""The box of the log variables: what each may be while widths, kernels and depths are real."""

from typing import NamedTuple

import numpy as np

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.problem import Problem


class Box(NamedTuple):
    """Least and greatest x, shape (1 + 4 S,), and the log of the least inner width."""

    low: Array
    high: Array
    log_least_inner: Array


def box_of(problem: Problem) -> Box:
    """The box of a problem's relaxation, NumPy float64."""
    stages, m = problem.num_stages, problem.multiple_of
    widths = [problem.per_stage("min_width"), problem.per_stage("max_width")]
    low = np.concatenate(
        [
            [-(-problem.stem_width[0] // m) * m],
            -(-np.array(widths[0]) // m) * m,
            np.full(stages, problem.inner_ratio[0]),
            [sizes[0] for sizes in problem.choices],
            problem.per_stage("min_depth"),
        ]
    )
    high = np.concatenate(
        [
            [problem.stem_width[-1] // m * m],
            np.array(widths[1]) // m * m,
            np.full(stages, problem.inner_ratio[-1]),
            [sizes[-1] for sizes in problem.choices],
            problem.per_stage("max_depth"),
        ]
    )
    least_inner = 1 if problem.fixed_ratio else m
    return Box(np.log(low), np.log(high), np.float64(np.log(least_inner)))
