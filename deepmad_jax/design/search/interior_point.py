"""A primal-dual interior-point method on a batch of small programs at once, in NumPy.

For each program of a batch: maximise its objective less `PRICE` t, in units of its scale, over a
box of x and t >= 0, subject to c(x) <= 0, where the first constraints may be missed by t. A fixed
number of Newton steps on the perturbed optimality conditions, infeasible at the start. What the
programs are, a `Programs` says; the like in JAX for the certificate's relaxation is
`certificate.interior`.
"""

from typing import Protocol

import numpy as np

PRICE = 30.0
STEPS = 12  # values are then right to 1e-4, for most problems to 1e-8
_CENTRING, _TO_BOUNDARY = 0.1, 0.99
_LEAST_MU = 1e-9  # below it the Newton matrices lose their digits
_FIRST = 0.05  # slacks of constraints that do not hold, and their products with the multipliers


class Programs(Protocol):
    """A batch of programs in x, (choices, V).

    Attributes:
        low, high: the box, (choices, V).
        elastic: how many constraints may be missed; they come first.
        coefficients: of the terms of each cost, (costs, choices, terms): only their number counts.
        scale: of each objective, nats, (choices,).
    """

    low: np.ndarray
    high: np.ndarray
    elastic: int
    coefficients: np.ndarray
    scale: np.ndarray

    def start(self) -> np.ndarray:
        """Where to begin, strictly inside the box."""

    def objective(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, (choices,), and gradients, (choices, V)."""

    def constraints(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """c(x) <= 0; the Jacobian of the elastic ones; shares of the terms in the costs."""

    def along(self, jacobian: np.ndarray, dx: np.ndarray) -> np.ndarray:
        """Changes of the constraints along dx."""

    def gathered(self, jacobian: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The gradient by x of the constraints' weighted sum."""

    def curved(self, weights: np.ndarray) -> np.ndarray:
        """Outer products of the rows, summed by weights, (choices, V, V)."""


def interior_point(batch: Programs, steps: int = STEPS) -> np.ndarray:
    """x, (choices, V), after so many steps."""
    x, elastic, num_costs = batch.start(), batch.elastic, len(batch.coefficients)
    choices, size = x.shape
    c, _, _ = batch.constraints(x)
    missed = np.maximum(c[:, :elastic].max(-1, initial=0.0), 0.0)[:, None] + _FIRST
    c[:, :elastic] -= missed
    # What stays above zero, with its multipliers: slacks, distances from the ends of the box, t.
    rows = c.shape[1]
    slack, below, above = slice(rows), slice(rows, rows + size), slice(rows + size, -1)
    parts = [np.maximum(-c, _FIRST), x - batch.low, batch.high - x, missed]
    z = np.concatenate(parts, axis=1)
    by = _FIRST / z
    matrix, right = np.empty((choices, size + 1, size + 1)), np.empty((choices, size + 1))
    diagonal = np.arange(size)
    for _ in range(steps):
        c, jacobian, shares = batch.constraints(x)
        c[:, :elastic] -= z[:, -1:]
        mu = np.maximum(_CENTRING * dot(z, by) / z.shape[1], _LEAST_MU)[:, None]
        stiff, target, residual = by / z, mu / z, c + z[:, slack]
        # The objective's own Hessian is small beside that of the costs, and indefinite: left out.
        bends = np.einsum("nk,knj->nj", by[:, :num_costs], shares)
        matrix[:, :-1, :-1] = batch.curved(np.concatenate([bends, stiff[:, elastic:rows]], axis=1))
        weighted = jacobian * stiff[:, :elastic, None]
        matrix[:, :-1, :-1] += weighted.swapaxes(1, 2) @ jacobian
        matrix[:, diagonal, diagonal] += stiff[:, below] + stiff[:, above] + 1e-10
        matrix[:, -1, :-1] = matrix[:, :-1, -1] = -weighted.sum(1)
        matrix[:, -1, -1] = stiff[:, -1] + stiff[:, :elastic].sum(-1)
        pull = target[:, slack] + stiff[:, slack] * residual
        gain = batch.objective(x)[1] / batch.scale[:, None]
        right[:, :-1] = target[:, below] - target[:, above] + gain
        right[:, :-1] -= batch.gathered(jacobian, pull)
        right[:, -1] = target[:, -1] - PRICE + pull[:, :elastic].sum(-1)
        step = _solution(matrix, right)
        dx, d_missed = step[:, :-1], step[:, -1:]
        along = batch.along(jacobian, dx)
        along[:, :elastic] -= d_missed
        dz = np.concatenate([-residual - along, dx, -dx, d_missed], axis=1)
        d_by = target - by - stiff * dz
        primal = _longest(z, dz)
        x, z, by = x + primal * dx, z + primal * dz, by + _longest(by, d_by) * d_by
    return x


def _solution(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Newton's steps; NaN throughout where a matrix stays singular."""
    try:
        return np.linalg.solve(matrix, right[..., None])[..., 0]
    except np.linalg.LinAlgError:  # one choice must not end the solves of the others
        ridge = 1e-6 * (1.0 + np.abs(matrix).max(axis=(1, 2), keepdims=True))
    try:
        return np.linalg.solve(matrix + ridge * np.eye(right.shape[1]), right[..., None])[..., 0]
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)


def _longest(values: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The longest step, at most 1, that keeps all values above zero, (choices, 1)."""
    # The greatest share of a value that a whole step would take away.
    taken = (-step / values).max(-1)
    return np.minimum(1.0, _TO_BOUNDARY / np.maximum(taken, 1e-30))[:, None]


def times(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Matrices times vectors, (..., rows)."""
    return np.matmul(matrix, x[..., None])[..., 0]


def weighted(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums of rows by weights, (choices, columns)."""
    return np.matmul(weights[:, None, :], rows)[:, 0]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of vectors, summed over the last axis."""
    return (a * b).sum(-1)
