"""Minimisation under inequality constraints: the augmented Lagrangian and its outer loop.

Minimise f(x) subject to g(x) <= 0 and x in a box whose degenerate sides are held. The augmented
Lagrangian (Rockafellar 1973) is

    L(x) = f(x) + sum_j (max(0, lambda_j + mu g_j(x))^2 - lambda_j^2) / (2 mu),

minimised by LBFGS for multipliers lambda and a penalty mu that grows from one outer iteration to
the next. What f and g are, their caller says: the convolutional program in `solve`, the perceptron
in `perceptron.relax`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.box import Box
from deepmad_jax.design.relaxation.lbfgs import minimise

OUTER_ITERATIONS = 10
INNER_ITERATIONS, TOLERANCE = 200, 1e-9
FIRST_PENALTY, PENALTY_GROWTH = 10.0, 3.0
# A solved relaxation on the named problems ends at 1e-14; beyond this it counts as unsolved.
MAX_VIOLATION = 1e-6

Program = Callable[[Array], tuple[Array, Array, Any]]
"""x -> f, g and what else is to be recorded of x."""


class Minimum(NamedTuple):
    """Where the outer loop ended, and what it passed.

    Attributes:
        x: the point.
        multipliers: lambda, by g.
        records: what the program recorded after each outer iteration.
        violations: the greatest entry of g after each.
        iterations: of LBFGS, in each.
    """

    x: Array
    multipliers: Array
    records: Any
    violations: Array
    iterations: Array


def constrained_minimum(program: Program, box: Box, start: Array) -> Minimum:
    """A local minimum from ``start``, which is held inside the box's degenerate sides."""
    start = freeze(box, start)
    size = program(start)[1].shape[0]

    def outer(carry, _):  # type: ignore[no-untyped-def]
        x, multipliers, penalty = carry

        def lagrangian(x: Array) -> Array:
            return augmented_lagrangian(program, box, multipliers, penalty, x)

        x, iterations = minimise(lagrangian, x, INNER_ITERATIONS, TOLERANCE)
        x = freeze(box, x)
        _, g, record = program(x)
        multipliers = updated_multipliers(multipliers, penalty, g)
        return (x, multipliers, penalty * PENALTY_GROWTH), (record, g.max(), iterations)

    first = (start, jnp.zeros(size), jnp.asarray(FIRST_PENALTY))
    (x, multipliers, _), history = jax.lax.scan(outer, first, length=OUTER_ITERATIONS)
    return Minimum(x, multipliers, *history)


def freeze(box: Box, x: Array) -> Array:
    """x with every variable whose bounds coincide held there, so that it gets no gradient."""
    return jnp.where(box.high - box.low < 1e-12, box.low, x)


def augmented_lagrangian(
    program: Program, box: Box, multipliers: Array, penalty: Array, x: Array
) -> Array:
    """L(x): see the module."""
    f, g, _ = program(freeze(box, x))
    shifted = jnp.maximum(0.0, multipliers + penalty * g)
    return f + (shifted**2 - multipliers**2).sum() / (2.0 * penalty)


def updated_multipliers(multipliers: Array, penalty: Array, g: Array) -> Array:
    """First-order multiplier update."""
    return jnp.maximum(0.0, multipliers + penalty * g)
