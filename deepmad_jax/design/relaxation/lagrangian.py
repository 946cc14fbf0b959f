"""The relaxed program: reals in log space, scaled, with an augmented Lagrangian.

Variables x, shape (1 + 4 S,): log stem width, then per stage log width, log(inner / width), log
kernel and log depth. Minimise ``-objective / H0`` subject to ``g(x) <= 0``, where g holds the
budgets as ratios, the monotone widths, the least inner width and the box.

The augmented Lagrangian of inequality constraints (Rockafellar 1973):
``L(x) = f(x) + sum_j (max(0, lambda_j + mu g_j(x))^2 - lambda_j^2) / (2 mu)``.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array, namespace
from deepmad_jax.design.program.evaluate import Data, Form, Numbers, Point, evaluate
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
            np.full(stages, min(problem.kernels)),
            problem.per_stage("min_depth"),
        ]
    )
    high = np.concatenate(
        [
            [problem.stem_width[-1] // m * m],
            np.array(widths[1]) // m * m,
            np.full(stages, problem.inner_ratio[-1]),
            np.full(stages, max(problem.kernels)),
            problem.per_stage("max_depth"),
        ]
    )
    least_inner = 1 if problem.fixed_ratio else m
    return Box(np.log(low), np.log(high), np.float64(np.log(least_inner)))


def to_point(x: Array) -> Point:
    """Widths, inner widths, kernels and depths of log variables x, shape (..., 1 + 4 S)."""
    exp = namespace(x).exp
    stages = (x.shape[-1] - 1) // 4
    log_width, log_ratio, log_kernel, log_depth = (
        x[..., 1 + i * stages : 1 + (i + 1) * stages] for i in range(4)
    )
    return Point(
        stem=exp(x[..., 0]),
        width=exp(log_width),
        inner=exp(log_width + log_ratio),
        kernel=exp(log_kernel),
        depth=exp(log_depth),
    )


def from_point(point: Point) -> np.ndarray:
    """The inverse of `to_point`, for starting a solve at a given network."""
    parts = (point.width, point.inner / point.width, point.kernel, point.depth)
    return np.concatenate([np.log([point.stem]), *(np.log(part) for part in parts)])


def relaxed_numbers(form: Form, data: Data, x: Array) -> Numbers:
    """The program's numbers at real x."""
    return evaluate(form, data, to_point(x), mode="smooth")


def constraints(form: Form, data: Data, box: Box, x: Array, numbers: Numbers) -> Array:
    """g(x), feasible where all entries are at most 0; the first three belong to `BUDGETS`."""
    stages = len(form.strides)
    width = x[1 : 1 + stages]
    inner = width + x[1 + stages : 1 + 2 * stages]
    # Ratios, not log-ratios: entropy grows like exp(log depth), so a log penalty would leave the
    # augmented Lagrangian unbounded below.
    budgets = jnp.stack(
        [
            numbers.macs / data.macs - 1.0,
            numbers.params / data.params - 1.0,
            numbers.rho_per_level[-1] / data.rho - 1.0,
        ]
    )
    parts = [budgets, box.low - x, x - box.high, box.log_least_inner - inner]
    if form.monotone:
        parts.append(jnp.concatenate([x[:1], width[:-1]]) - width)
    if form.convention == "tinynas":  # rho is the greatest over the prefixes: one constraint each
        parts.append(numbers.rho_per_level[:-1] / data.rho - 1.0)
    for extra, limit in zip(numbers.extra, data.limits, strict=True):
        parts.append(extra / limit - 1.0)
    # The extras stay last: `solve` reads their multipliers from the end.
    return jnp.concatenate(parts)


def freeze(box: Box, x: Array) -> Array:
    """x with every variable whose bounds coincide held there, so that it gets no gradient."""
    return jnp.where(box.high - box.low < 1e-12, box.low, x)


def augmented_lagrangian(
    form: Form, data: Data, box: Box, scale: Array, multipliers: Array, penalty: Array, x: Array
) -> Array:
    """L(x): see the module. ``scale`` is H0, the entropy that makes the objective about 1."""
    x = freeze(box, x)
    numbers = relaxed_numbers(form, data, x)
    g = constraints(form, data, box, x, numbers)
    shifted = jnp.maximum(0.0, multipliers + penalty * g)
    return -numbers.objective / scale + (shifted**2 - multipliers**2).sum() / (2.0 * penalty)


def updated_multipliers(multipliers: Array, penalty: Array, g: Array) -> Array:
    """First-order multiplier update."""
    return jnp.maximum(0.0, multipliers + penalty * g)
