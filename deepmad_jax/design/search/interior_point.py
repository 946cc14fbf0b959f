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


def interior_point(batch: Programs) -> np.ndarray:
    """x, (choices, V), after `STEPS` steps."""
    x, low, high = batch.start(), batch.low, batch.high
    choices, size = x.shape
    diagonal, elastic = np.arange(size), batch.elastic
    c, _, _ = batch.constraints(x)
    missed = np.maximum(c[:, :elastic].max(-1, initial=0.0), 0.0) + _FIRST
    c[:, :elastic] -= missed[:, None]
    slack = np.maximum(-c, _FIRST)
    by, at_low, at_high = _FIRST / slack, _FIRST / (x - low), _FIRST / (high - x)
    at_zero = _FIRST / missed
    count = c.shape[1] + 2 * size + 1
    num_costs = len(batch.coefficients)
    matrix = np.empty((choices, size + 1, size + 1))
    for _ in range(STEPS):
        c, jacobian, shares = batch.constraints(x)
        c[:, :elastic] -= missed[:, None]
        gradient = -batch.objective(x)[1] / batch.scale[:, None]
        below, above = x - low, high - x
        products = dot(slack, by) + dot(at_low, below) + dot(at_high, above) + at_zero * missed
        mu = np.maximum(_CENTRING * products / count, _LEAST_MU)[:, None]
        stiff, residual = by / slack, c + slack
        # The objective's own Hessian is small beside that of the costs, and indefinite: left out.
        bends = np.einsum("nk,knj->nj", by[:, :num_costs], shares)
        curved = batch.curved(np.concatenate([bends, stiff[:, elastic:]], axis=1))
        weighted = jacobian * stiff[:, :elastic, None]
        matrix[:, :-1, :-1] = curved + weighted.swapaxes(1, 2) @ jacobian
        matrix[:, diagonal, diagonal] += at_low / below + at_high / above + 1e-10
        matrix[:, -1, :-1] = matrix[:, :-1, -1] = -weighted.sum(1)
        matrix[:, -1, -1] = at_zero / missed + stiff[:, :elastic].sum(-1)
        pull = mu / slack + stiff * residual
        right = np.empty((choices, size + 1))
        right[:, :-1] = mu / below - mu / above - gradient - batch.gathered(jacobian, pull)
        right[:, -1] = mu[:, 0] / missed - PRICE + pull[:, :elastic].sum(-1)
        step = _solution(matrix, right)
        dx, d_missed = step[:, :-1], step[:, -1]
        along = batch.along(jacobian, dx)
        along[:, :elastic] -= d_missed[:, None]
        d_slack, d_by = -residual - along, mu / slack - by + stiff * (residual + along)
        d_low = mu / below - at_low - at_low / below * dx
        d_high = mu / above - at_high + at_high / above * dx
        d_zero = (mu[:, 0] - at_zero * d_missed) / missed - at_zero
        primal = _longest((slack, d_slack), (below, dx), (above, -dx), (missed, d_missed))
        dual = _longest((by, d_by), (at_low, d_low), (at_high, d_high), (at_zero, d_zero))
        x, slack = x + primal * dx, slack + primal * d_slack
        missed = missed + primal[:, 0] * d_missed
        by, at_low, at_high = by + dual * d_by, at_low + dual * d_low, at_high + dual * d_high
        at_zero = at_zero + dual[:, 0] * d_zero
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


def _longest(*moves: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The longest step, at most 1, that keeps all values above zero, (choices, 1)."""
    # Shares of the values that a whole step would take away.
    taken = [(-d / v).reshape(len(v), -1).max(-1, initial=0.0) for v, d in moves]
    return np.minimum(1.0, _TO_BOUNDARY / np.maximum(np.max(taken, axis=0), 1e-30))[:, None]


def times(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Matrices times vectors, (..., rows)."""
    return np.matmul(matrix, x[..., None])[..., 0]


def weighted(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums of rows by weights, (choices, columns)."""
    return np.matmul(weights[:, None, :], rows)[:, 0]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of vectors, summed over the last axis."""
    return (a * b).sum(-1)
