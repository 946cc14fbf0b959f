"""The relaxed program where depths, kernels and equal widths are chosen: many choices at once.

Unknowns y: logs of the stem's width, then per stage of width, inner width and kernel, each free or
fixed (where inner / width is a single value, its log stands for the inner width's). With the depths
fixed (letters as in `certificate.bounds`),

    objective = sum_m alpha_m A_m T_m - beta Q,  A_m = log(r_m^2 c_m), T_m the sum of log fan-ins,
    cost_j    = sum of a exp(b . y) <= 1         for MACs, params and further limits,
    rho       : log N - log rho0 <= T_M / N,

where A and T are affine and every a > 0. A dozen steps of `interior_point` solve it, on matrices of
at most 3 S + 2 rows. They run in NumPy for a whole batch of choices, with nothing to compile: about
0.1 ms a choice.

Every budget may be missed by a factor exp(t), at `interior_point.PRICE` objectives a unit of t, so
that choices which miss the budgets have a value too and a search can cross them.
"""

from typing import NamedTuple

import numpy as np

from deepmad_jax.arch.layers import se_width
from deepmad_jax.design.program.entropy import depth_penalty
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.prepared import Prepared
from deepmad_jax.design.search.interior_point import (
    PRICE,
    STEPS,
    dot,
    interior_point,
    times,
    weighted,
)

_NEVER = 1e-60  # how often a term counts that does not: its log is finite
_ROUNDED = 4.0  # channels that a squeeze loses by rounding, of the 0 to 7.5 that it may
_MARGIN = 0.02  # of the box's width, which the start keeps from its ends


class Values(NamedTuple):
    """The relaxed optimum of each choice.

    Attributes:
        value: objective less the price of what the budgets are missed by, nats, (choices,).
        y: the unknowns of the module, (choices, 1 + 3 S).
    """

    value: np.ndarray
    y: np.ndarray


class FixedChoices:
    """A problem whose choices of depths, kernels and equal widths can be valued.

    For the paper's convention.
    """

    def __init__(self, prepared: Prepared):
        self.program = program = prepared.posynomials
        self.layout = parts = prepared.layout
        width, inner = parts.width, parts.inner
        low, high = prepared.box.low[parts.shape], prepared.box.high[parts.shape]
        self.ratio_fixed = prepared.problem.fixed_ratio
        self.low, self.high = low.copy(), high.copy()
        # From y to the logs of `posynomials`: width and inner / width.
        self.to_logs = np.eye(parts.shape_size)
        if not self.ratio_fixed:
            self.to_logs[inner, width] = -np.eye(parts.stages)
            self.low[inner] = np.maximum(low[inner] + low[width], program.log_least_inner)
            self.high[inner] += high[width]
        used = (program.coefficients > 0).any(0)
        exponents = program.exponents[used]
        # The squeeze is as wide as in the relaxed program, a quarter of the inner width, until the
        # inner width is chosen: then as it will be built.
        exponents_of_logs, self.squeeze, repeated = np.split(
            exponents, [parts.shape_size, parts.shape_size + parts.stages], axis=1
        )
        exponents_of_logs = exponents_of_logs.copy()
        exponents_of_logs[:, width] += self.squeeze
        exponents_of_logs[:, inner] += self.squeeze
        self.repeated = (repeated > 0).astype(float)
        limited = program.limited > 0
        self.coefficients = program.coefficients[limited][:, used] * 0.25 ** self.squeeze.sum(-1)
        self.conditional = program.conditional[used]
        self.if_repeated = program.if_repeated[used]
        slopes, self.at_zero = _shape_constraints(
            parts, program.monotone > 0, low[inner], high[inner]
        )
        self.rows = np.concatenate([exponents_of_logs, slopes]) @ self.to_logs

    def unknowns_of(self, x: np.ndarray) -> np.ndarray:
        """y, (1 + 3 S,), at log variables x of `lagrangian`, (1 + 4 S,)."""
        y = x[self.layout.shape].copy()
        if not self.ratio_fixed:
            y[self.layout.inner] += x[self.layout.width]
        return y

    def solve(
        self,
        depth: np.ndarray,
        start: np.ndarray,
        chosen: np.ndarray | None = None,
        tied: np.ndarray | None = None,
        steps: int = STEPS,
    ) -> Values:
        """The relaxed optimum of each choice.

        Args:
            depth: blocks, (choices, S).
            start: y where the solve begins, (choices, 1 + 3 S) or (1 + 3 S,).
            chosen: fixed y, (choices, 1 + 3 S), NaN where free, the same for all choices.
            tied: whether a stage is as wide as the one before, (choices, S); None for nowhere,
                though widths may then still come out equal, and their projections count.
            steps: of the interior point.
        """
        if chosen is None:
            chosen = np.full((1, len(self.low)), np.nan)
        batch = _Batch(self, depth, start, chosen, tied)
        with np.errstate(all="ignore"):  # a choice that diverges is worth minus infinity
            x = interior_point(batch, steps)
            missed = batch.constraints(x)[0][:, : batch.elastic].max(-1, initial=0.0)
            value = batch.objective(x)[0] - PRICE * batch.scale * missed
            value = value - self.program.beta * depth_penalty(depth)
        return Values(np.where(np.isfinite(value), value, -np.inf), batch.unknowns(x))


class _Batch:
    """The program of each choice in its free unknowns x, (choices, V).

    Rows that all choices share (exponents of the terms, then shapes) stand in one matrix, so that
    their share of Newton's matrices is a single product with the outer products of the rows. Where
    widths are tied, ``copies`` takes x to the free unknowns that the shared rows read.
    """

    def __init__(
        self,
        fixed: FixedChoices,
        depth: np.ndarray,
        start: np.ndarray,
        chosen: np.ndarray,
        tied: np.ndarray | None,
    ):
        program, count = fixed.program, len(depth)
        n = depth - 1.0
        low, high = (
            np.broadcast_to(np.where(np.isnan(chosen), end, chosen), (count, len(end)))
            for end in (fixed.low, fixed.high)
        )
        self.free = free = np.flatnonzero((high - low > 1e-9).any(0))
        self.low, self.high = low[:, free], high[:, free]
        self.y = np.clip(start, low, high)
        self.ties = None if tied is None else _ties(tied, fixed.layout)
        self.copies = None if self.ties is None else self.ties[:, free[:, None], free]
        # What is frozen moves into the constants.
        frozen = self.y.copy()
        frozen[:, free] = 0.0
        frozen = self._tied(frozen)

        # A term counts n times, or not at all: by the log, where no log n is minus infinity.
        log_repeats = np.log(np.maximum(n, _NEVER)) @ fixed.repeated.T
        log_repeats += np.log(_NEVER) * ((n <= 0) @ fixed.if_repeated.T)
        if tied is not None:
            log_repeats += np.log(_NEVER) * (tied @ fixed.conditional.T)
        repeats = np.exp(log_repeats + _log_squeezed(fixed, chosen, start) @ fixed.squeeze.T)
        terms = len(fixed.rows) - len(fixed.at_zero)
        constants = frozen @ fixed.rows.T
        coefficients = fixed.coefficients[:, None, :] * (repeats * np.exp(constants[:, :terms]))
        # Terms that differ in what is frozen alone are one: where most is, a tenth of them is left.
        of_free = fixed.rows[:, free]
        distinct, which = np.unique(of_free[:terms].round(9), axis=0, return_inverse=True)
        self.coefficients = coefficients @ np.eye(len(distinct))[which.ravel()]
        self.num_terms = len(distinct)
        # What no free unknown can change would leave the constraints no interior.
        bound = np.abs(of_free[terms:]).max(-1, initial=0.0) > 1e-12
        self.shared = np.concatenate([distinct, of_free[terms:][bound]])
        # Most pairs of unknowns have no row in common.
        outer = self.shared[:, :, None] * self.shared[:, None, :]
        self.pairs = np.nonzero(np.triu((outer != 0.0).any(0)))
        self.outer = outer[:, self.pairs[0], self.pairs[1]]
        shapes = (constants[:, terms:] + fixed.at_zero)[:, bound]
        slopes = self._by_x(self.shared[self.num_terms :])
        self.shapes = np.where(np.abs(slopes).max(-1, initial=0.0) < 1e-12, -1.0, shapes)

        merges = np.ones(n.shape) if tied is None else 1.0 - tied
        by_stage = program.first + n[..., None] * program.rest
        if program.merges.any():
            by_stage = by_stage + merges[..., None] * program.merge
        sums = np.einsum("ms,nsl->nml", program.reach, by_stage)
        sums[..., -1] += program.stem
        sums[:, -1] += program.head
        layers = program.layers_fixed + n @ program.layers + merges @ program.merges
        self.alpha = program.alpha
        self.levels, self.sums = (
            self._reduced(fixed, part, frozen)
            for part in (np.broadcast_to(program.level, sums.shape), sums)
        )
        self.elastic = len(fixed.coefficients)
        self.rho = None
        if program.log_rho < 1e8:
            by_layers = -1.0 / layers[:, None]
            constant = self.sums[1][:, -1] * by_layers[:, 0] + np.log(layers) - program.log_rho
            self.rho = (self.sums[0][:, -1] * by_layers, constant)
            self.elastic += 1
        self.scale = np.maximum(self.objective(self.start())[0], 1.0)

    def _tied(self, y: np.ndarray) -> np.ndarray:
        return y if self.ties is None else times(self.ties, y)

    def _reduced(
        self, fixed: FixedChoices, affine: np.ndarray, frozen: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Slopes by x, (choices, M, V), and constants of functions affine in the logs."""
        slopes = affine[..., :-1] @ fixed.to_logs
        constants = affine[..., -1] + times(slopes, frozen)
        return self._by_x(slopes[..., self.free]), constants

    def _copied(self, x: np.ndarray) -> np.ndarray:
        """What the shared rows read at x."""
        return x if self.copies is None else times(self.copies, x)

    def _by_x(self, slopes: np.ndarray) -> np.ndarray:
        """Slopes by x of functions whose slopes by what the shared rows read are given."""
        return slopes if self.copies is None else slopes @ self.copies

    def start(self) -> np.ndarray:
        """Where the solve begins, inside the box."""
        margin = _MARGIN * (self.high - self.low)
        return np.clip(self.y[:, self.free], self.low + margin, self.high - margin)

    def unknowns(self, x: np.ndarray) -> np.ndarray:
        """All of y at x."""
        y = self.y.copy()
        y[:, self.free] = x
        return self._tied(y)

    def objective(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted entropy, (choices,), and its gradient, (choices, V)."""
        level, total = (times(slopes, x) + z for slopes, z in (self.levels, self.sums))
        gradient = weighted(self.alpha * total, self.levels[0])
        return (level * total) @ self.alpha, gradient + weighted(self.alpha * level, self.sums[0])

    def constraints(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """c(x) <= 0, first those that may be missed; Jacobian of these; shares of the costs.

        The log of a cost has the Hessian ``sum of share b b'`` less the outer product of its
        gradient, which Newton's matrix outweighs.
        """
        rows = self._copied(x) @ self.shared.T
        shares = self.coefficients * np.exp(rows[:, : self.num_terms])
        totals = shares.sum(-1) + 1e-30  # all of a cost's layers may be absent
        shares /= totals[..., None]
        jacobian = self._by_x((shares @ self.shared[: self.num_terms]).swapaxes(0, 1))
        elastic = np.log(totals).T
        if self.rho is not None:
            jacobian = np.concatenate([jacobian, self.rho[0][:, None]], axis=1)
            elastic = np.concatenate(
                [elastic, (dot(self.rho[0], x) + self.rho[1])[:, None]], axis=1
            )
        c = np.concatenate([elastic, rows[:, self.num_terms :] + self.shapes], axis=1)
        return c, jacobian, shares

    def along(self, jacobian: np.ndarray, dx: np.ndarray) -> np.ndarray:
        """Changes of the constraints along dx."""
        shapes = self._copied(dx) @ self.shared[self.num_terms :].T
        return np.concatenate([times(jacobian, dx), shapes], axis=1)

    def gathered(self, jacobian: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The gradient by x of the constraints' weighted sum."""
        shapes = weights[:, self.elastic :] @ self.shared[self.num_terms :]
        if self.copies is not None:
            shapes = weighted(shapes, self.copies)
        return shapes + weighted(weights[:, : self.elastic], jacobian)

    def curved(self, weights: np.ndarray) -> np.ndarray:
        """The shared rows' outer products, summed by weights (choices, rows): (choices, V, V)."""
        size, (i, j) = len(self.free), self.pairs
        matrix = np.zeros((len(weights), size, size))
        matrix[:, i, j] = matrix[:, j, i] = weights @ self.outer
        if self.copies is not None:
            matrix = self.copies.swapaxes(1, 2) @ matrix @ self.copies
        return matrix


def _shape_constraints(
    parts: Layout, monotone: bool, ratio_low: np.ndarray, ratio_high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes by the logs, and constants, of widths that do not shrink and of inner / width."""
    eye = np.eye(parts.shape_size)
    before, width, ratio = eye[parts.before], eye[parts.width], eye[parts.inner]
    slopes, constants = [-ratio, ratio], [ratio_low, -ratio_high]
    if monotone:
        slopes, constants = [before - width, *slopes], [np.zeros(parts.stages), *constants]
    return np.concatenate(slopes), np.concatenate(constants)


def _log_squeezed(fixed: FixedChoices, chosen: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Log of the squeeze over a quarter of the inner width, (choices, S).

    As it will be built, where the inner width is chosen; elsewhere as built widths of about that
    size have it, which are the ones that lose by rounding: ``_ROUNDED`` less than a quarter.
    """
    parts = fixed.layout

    def inner_at(y: np.ndarray) -> np.ndarray:
        logs = y[..., parts.inner]
        if fixed.ratio_fixed:
            logs = y[..., parts.width] + fixed.low[parts.inner]
        return np.asarray(np.exp(logs))

    built, about = inner_at(chosen), inner_at(start)
    is_free = np.isnan(built)
    # Of a ratio below 1 it may round to none, which no network has.
    channels = np.maximum(np.where(is_free, about, np.rint(built)), 1.0)
    expected = np.maximum(0.25 * channels - _ROUNDED, 8.0)
    squeeze = np.where(is_free, expected, se_width(np.rint(channels)))
    return np.asarray(np.log(squeeze / (0.25 * channels)))


def _ties(tied: np.ndarray, parts: Layout) -> np.ndarray:
    """Matrices that copy the width before to every tied stage, (choices, 1 + 3 S, 1 + 3 S)."""
    spread = np.repeat(np.eye(parts.shape_size)[None], len(tied), axis=0)
    for i in range(parts.stages):
        spread[:, 1 + i] = np.where(tied[:, i, None], spread[:, i], spread[:, 1 + i])
    return spread
