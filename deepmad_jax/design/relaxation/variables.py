"""The relaxed program: reals in log space, scaled to ratios.

Variables x, shape (1 + 4 S,): log stem width, then per stage log width, log(inner / width), log
kernel and log depth. Maximise the objective subject to ``g(x) <= 0``, where g holds the budgets as
ratios, the monotone widths, the least inner width and the box.
"""

import jax.numpy as jnp
import numpy as np

from deepmad_jax.design.program.arrays import Array, namespace
from deepmad_jax.design.program.box import Box
from deepmad_jax.design.program.evaluate import Data, Form, Numbers, Point, evaluate
from deepmad_jax.design.program.layout import Layout


def to_point(x: Array) -> Point:
    """Widths, inner widths, kernels and depths of log variables x, shape (..., 1 + 4 S)."""
    exp = namespace(x).exp
    parts = Layout.of_size(x.shape[-1])
    log_width, log_ratio = x[..., parts.width], x[..., parts.inner]
    return Point(
        stem=exp(x[..., parts.stem]),
        width=exp(log_width),
        inner=exp(log_width + log_ratio),
        kernel=exp(x[..., parts.kernel]),
        depth=exp(x[..., parts.depth]),
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
    at = Layout(len(form.strides))
    width, inner = x[at.width], x[at.width] + x[at.inner]
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
        parts.append(x[at.before] - width)
    if form.convention == "tinynas":  # rho is the greatest over the prefixes: one constraint each
        parts.append(numbers.rho_per_level[:-1] / data.rho - 1.0)
    for extra, limit in zip(numbers.extra, data.limits, strict=True):
        parts.append(extra / limit - 1.0)
    # The extras stay last: `solve` reads their multipliers from the end.
    return jnp.concatenate(parts)
