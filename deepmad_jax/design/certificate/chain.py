"""An upper bound over the whole networks of a box: dynamic programming along the stages.

`bounds` relaxes widths and depths to real numbers. Where few multiples lie in a range that costs
percents, until the boxes are single networks. Here they stay whole. Letters as in `bounds`: with
prices on the limits, a line above -exp(Var) and a mean of the two McCormick planes in place of
every A_m T_m, the objective is at most

    sum_i f_i(c_(i-1), c_i, b_i, k_i, L_i) + g(sum_i L_i),

since all layers of a stage know the width before, its own width c, inner width b, kernel k and
depth L, and Var and rho turn on the sum of the depths besides. So the greatest value over *all*
whole networks of a box is found exactly, stage by stage, over the width and the number of blocks so
far. Projections that equal widths drop and the steps of the squeeze are in it as they are built.

Any prices give a bound, convex in the prices; `cutting_planes` seeks the least. Where blocks of the
stages differ in their number of layers, N log N is at least its tangent.
"""

from typing import NamedTuple

import numpy as np

from deepmad_jax.arch.layers import se_width
from deepmad_jax.design.certificate.stage_terms import stage_terms
from deepmad_jax.design.program.lattice import inner_bounds
from deepmad_jax.design.program.posynomials import Posynomials
from deepmad_jax.design.program.prepared import Prepared

MOST_WORK = 1e7
"""Sums of a stage's choices, beyond which a box is left to `bounds`: about a tenth of a second."""


class Network(NamedTuple):
    """A whole network: channels, (1 + S,) with the stem's, then (S,) each; n is depth - 1."""

    widths: np.ndarray
    inner: np.ndarray
    kernel: np.ndarray
    n: np.ndarray

    @property
    def unknowns(self) -> np.ndarray:
        """As `bounds` has them, without products, (1 + 4 S,)."""
        ratio = self.inner / self.widths[1:]
        return np.concatenate([np.log([*self.widths, *ratio, *self.kernel]), self.n])


class Prices(NamedTuple):
    """Any numbers of 0 and more, weights up to 1, give a valid bound.

    Attributes:
        budgets: of each cost, (C,), nats for the whole budget.
        rho: nats per nat of rho's slack.
        variance: slope of the line above the depth penalty, nats.
        planes: weight of the first of each level's two planes, (M,).
    """

    budgets: np.ndarray
    rho: float
    variance: float
    planes: np.ndarray

    def joined(self) -> np.ndarray:
        return np.concatenate([self.budgets, [self.rho, self.variance], self.planes])

    @classmethod
    def of(cls, joined: np.ndarray, costs: int) -> "Prices":
        return cls(
            joined[:costs], float(joined[costs]), float(joined[costs + 1]), joined[costs + 2 :]
        )


class Ranges(NamedTuple):
    """Of A_m and T_m over the networks that matter, (M,) each."""

    level_low: np.ndarray
    level_high: np.ndarray
    sum_low: np.ndarray
    sum_high: np.ndarray

    def planes(self, level: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both McCormick planes above the product of A and T, (M,) each."""
        first = (sums - self.sum_low) * self.level_high + level * self.sum_low
        second = (sums - self.sum_high) * self.level_low + level * self.sum_high
        return first, second


class Chain:
    """A problem, its terms by stage."""

    def __init__(self, prepared: Prepared):
        self.prepared, self.program = prepared, prepared.bounding
        self.terms = stage_terms(self.program)
        program = self.program
        self.limited = np.asarray(program.limited) > 0
        self.has_rho = float(program.log_rho) < 1e8
        self.penalised = float(program.beta) > 0
        layers = np.asarray(program.layers)
        self.uniform = bool((layers == layers[0]).all() and not np.any(program.merges))

    def box(
        self, low: np.ndarray, high: np.ndarray, entropy_high: np.ndarray, incumbent: float
    ) -> "ChainBox | None":
        """A box, as `bounds.relaxation` has it; None where it is too large, or does not fit.

        Args:
            low, high: its ends, (1 + 5 S,).
            entropy_high: the most that each H_m can be, (M,).
            incumbent: only networks of a greater objective matter.
        """
        if not self.terms.fits:
            return None
        box = ChainBox(self, low, high, self._ranges(low, high, entropy_high, incumbent))
        return box if box.work <= MOST_WORK else None

    def _ranges(
        self, low: np.ndarray, high: np.ndarray, entropy_high: np.ndarray, incumbent: float
    ) -> Ranges:
        program, at = self.program, self.program.layout
        alpha = np.asarray(program.alpha)
        logs_low, logs_high = low[at.shape], high[at.shape]
        first = np.maximum(_affine(program.first, logs_low), 0.0)
        rest = np.maximum(_affine(program.rest, logs_low), 0.0)
        sum_low = _sums(program, logs_low, first + low[at.depth] * rest)
        first = _affine(program.first, logs_high)
        first = first + np.maximum(_affine(program.merge, logs_high), 0.0)
        sum_high = _sums(
            program, logs_high, first + high[at.depth] * _affine(program.rest, logs_high)
        )
        level_low, level_high = _affine(program.level, logs_low), _affine(program.level, logs_high)
        # A network that beats the incumbent has at least what the other levels leave for this one.
        most = alpha * entropy_high
        least = incumbent + program.beta - (most.sum() - most)
        least = least - 1e-12 * np.abs(least)
        entropy_low = np.where(alpha > 0, least / np.where(alpha > 0, alpha, 1.0), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            for _ in range(2):
                sum_low = np.fmax(sum_low, np.where(level_high > 0, entropy_low / level_high, 0.0))
                sum_high = np.where(
                    level_low > 0, np.fmin(sum_high, entropy_high / level_low), sum_high
                )
                level_low = np.fmax(
                    level_low, np.where(sum_high > 0, entropy_low / sum_high, level_low)
                )
                level_high = np.where(
                    sum_low > 0, np.fmin(level_high, entropy_high / sum_low), level_high
                )
        return Ranges(level_low, level_high, sum_low, sum_high)


class Stage(NamedTuple):
    """What a stage of a box may be, and its costs there.

    W widths before, V widths, I inner widths, K kernels; ``costs`` names those that it adds to.

    Attributes:
        inner, kernel, n: values.
        allowed: whether an inner width goes with a width, (V, I).
        differs: whether two widths differ, (W, V).
        costs: indices, (c,).
        once, each, repeated: of the first block, of each repeated one, and once if there is one,
            (c, V, I, K).
        entering: of what reads the width before beside inner width or kernel, (c, W, I, K).
        pairs: of what reads both widths, (c, W, V).
    """

    inner: np.ndarray
    kernel: np.ndarray
    n: np.ndarray
    allowed: np.ndarray
    differs: np.ndarray
    costs: np.ndarray
    once: np.ndarray
    each: np.ndarray
    repeated: np.ndarray
    entering: np.ndarray
    pairs: np.ndarray


class ChainBox:
    """One box of whole networks.

    Attributes:
        work: how many sums a bound takes.
        empty: whether no network lies in it.
    """

    def __init__(self, chain: Chain, low: np.ndarray, high: np.ndarray, ranges: Ranges):
        self.chain, self.ranges = chain, ranges
        lattice, at = chain.prepared.lattice, chain.program.layout
        m, near = lattice.multiple, 1e-7
        self.widths = [
            m * np.arange(np.ceil(a / m - near), np.floor(b / m + near) + 1)
            for a, b in zip(np.exp(low[at.widths]), np.exp(high[at.widths]), strict=True)
        ]
        self.choices = [self._choices(i, low, high) for i in range(at.stages)]
        sizes = [[len(part) for part in parts[:3]] for parts in self.choices]
        self.empty = not all(len(widths) for widths in self.widths)
        self.empty |= not all(
            min(size) and parts[3].any() for size, parts in zip(sizes, self.choices, strict=True)
        )
        blocks = 1 + sum(size[2] - 1 for size in sizes)
        self.work = sum(
            len(self.widths[i]) * len(self.widths[i + 1]) * size[2] * (size[0] * size[1] + blocks)
            for i, size in enumerate(sizes)
        )
        self.middle = 0.5 * (low[at.depth] + high[at.depth])
        self._stages: list[Stage] | None = None

    def _choices(
        self, i: int, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Inner widths, kernels and n of a stage, and which inner widths go with which width."""
        lattice, at, near = self.chain.prepared.lattice, self.chain.program.layout, 1e-7
        width = self.widths[i + 1]
        least, most = inner_bounds(lattice, width)
        if self.chain.prepared.problem.fixed_ratio:
            inner = np.unique(least[least <= most])
        else:
            m = lattice.multiple
            inner = m * np.arange(1, np.floor(most.max(initial=0.0) / m + near) + 1)
        ends = np.exp([low[at.log_inner][i], high[at.log_inner][i]])
        inner = inner[(inner >= ends[0] * (1 - near)) & (inner <= ends[1] * (1 + near))]
        allowed = (inner >= least[:, None] - near) & (inner <= most[:, None] + near)
        log_ratio = np.log(inner[None] / width[:, None]) if len(inner) else np.zeros(allowed.shape)
        allowed &= (log_ratio >= low[at.inner][i] - near) & (log_ratio <= high[at.inner][i] + near)
        sizes = np.unique(lattice.kernels[i])
        logs = np.log(sizes)
        kernel = sizes[(logs >= low[at.kernel][i] - near) & (logs <= high[at.kernel][i] + near)]
        n = np.arange(np.ceil(low[at.depth][i] - near), np.floor(high[at.depth][i] + near) + 1)
        return inner, kernel, n, allowed

    @property
    def stages(self) -> list[Stage]:
        """Of all stages; made when first asked for."""
        if self._stages is None:
            self._stages = [self._stage(i) for i in range(len(self.choices))]
        return self._stages

    def _stage(self, i: int) -> Stage:
        terms, coefficients = self.chain.terms, self.chain.terms.coefficients
        inner, kernel, n, allowed = self.choices[i]
        before, width = self.widths[i], self.widths[i + 1]
        differs = np.abs(before[:, None] - width[None]) > 1e-9
        columns = [term.column for term in terms.stages[i]]
        used = self.chain.limited & (coefficients[:, columns] > 0).any(-1)
        costs = np.flatnonzero(used)
        shape = (len(costs), len(width), len(inner), len(kernel))
        once, each, repeated = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        entering = np.zeros((len(costs), len(before), *shape[2:]))
        pairs = np.zeros((len(costs), len(before), len(width)))
        squeeze = se_width(np.maximum(np.rint(inner), 1.0))
        for term in terms.stages[i]:
            by = coefficients[costs, term.column][:, None, None]
            if not by.any():
                continue
            if term.of_pair:
                product = before[:, None] ** term.before * width**term.width
                pairs += by * (product * differs if term.differs else product)
                continue
            inside = (inner**term.inner * squeeze**term.squeeze)[:, None] * kernel**term.kernel
            if term.before:
                entering += by[..., None] * before[:, None, None] ** term.before * inside
                continue
            product = by[..., None] * width[:, None, None] ** term.width * inside
            if term.each:
                each += product
            elif term.if_repeated:
                repeated += product
            else:
                once += product
        return Stage(
            inner, kernel, n, allowed, differs, costs, once, each, repeated, entering, pairs
        )

    def holds(self, network: Network) -> bool:
        """Whether a network lies in the box."""
        parts = zip(network.widths, self.widths, strict=True)
        if not all(widths[0] <= width <= widths[-1] for width, widths in parts):
            return False
        inside = zip(network.inner, network.kernel, network.n, self.choices, strict=True)
        return all(
            bool((inner == choices[0]).any())
            and choices[1][0] <= kernel <= choices[1][-1]
            and choices[2][0] <= n <= choices[2][-1]
            for inner, kernel, n, choices in inside
        )

    def _numbers(self, network: Network) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """A and T of each level, (M,), the main path's layers, and the costs, (C,)."""
        program, at = self.chain.program, self.chain.program.layout
        logs = np.zeros(at.shape_size)
        logs[at.widths], logs[at.kernel] = np.log(network.widths), np.log(network.kernel)
        logs[at.inner] = np.log(network.inner) - logs[at.width]
        squeeze = np.log(se_width(np.maximum(np.rint(network.inner), 1.0)))
        differs, n = np.diff(network.widths) != 0, network.n
        counts = np.where(program.repeats > 0, n, 1.0).prod(-1)
        counts *= np.where(program.conditional > 0, differs, True).all(-1)
        counts *= np.where(program.if_repeated > 0, n > 0, True).all(-1)
        terms = counts * np.exp(program.powers @ np.concatenate([logs, squeeze]))
        by_stage = _affine(program.first, logs) + differs * _affine(program.merge, logs)
        sums = _sums(program, logs, by_stage + n * _affine(program.rest, logs))
        layers = program.layers_fixed + program.layers @ n + program.merges @ differs
        return (
            _affine(program.level, logs),
            sums,
            float(layers),
            self.chain.terms.coefficients @ terms,
        )

    def loosest_level(self, network: Network, prices: Prices) -> tuple[int, float]:
        """The width whose level's planes lie farthest above A T at a network, and by how much.

        An index into ``widths``; of levels that end in a final conv there is none.
        """
        program = self.chain.program
        level, sums, *_ = self._numbers(network)
        first, second = self.ranges.planes(level, sums)
        over = program.alpha * (mixed(prices.planes, first, second) - level * sums)
        by_width = over @ program.level[:, : len(self.widths)]
        width = int(by_width.argmax())
        return width, float(by_width[width])

    def plane(self, network: Network, prices: Prices) -> tuple[float, np.ndarray]:
        """What a network alone makes of the bound, and how that changes with the prices.

        A bound is the greatest of these over the networks of the box, and convex in the prices.
        """
        program, chain = self.chain.program, self.chain
        alpha, n = np.asarray(program.alpha), network.n
        level, sums, layers, costs = self._numbers(network)
        first, second = self.ranges.planes(level, sums)
        slack, variance, value = 0.0, 0.0, alpha @ second
        if chain.has_rho:
            slack = sums[-1] + layers * (program.log_rho - np.log(layers))
            if not chain.uniform:
                tangent = program.layers_fixed + program.layers @ self.middle
                slack = sums[-1] + layers * (program.log_rho - np.log(tangent) - 1.0) + tangent
        if chain.penalised:
            variance = np.log(prices.variance / float(program.beta)) - n.var()
            value -= prices.variance  # what v log(v / beta) - v has beside v times its slope
        budgets = np.where(chain.limited, 1.0 - costs, 0.0)
        slope = np.concatenate([budgets, [slack, variance], alpha * (first - second)])
        return float(value + slope @ prices.joined()), slope


def mixed(weight: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return weight * one + (1.0 - weight) * other


def _affine(rows: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Rows with a constant at their end, at logs, (1 + 3 S,)."""
    return np.asarray(rows[..., :-1] @ logs + rows[..., -1])


def _sums(program: Posynomials, logs: np.ndarray, by_stage: np.ndarray) -> np.ndarray:
    """T_m, (M,), from what each stage adds, (S,)."""
    sums = np.asarray(program.stem + program.reach @ by_stage)
    sums[-1] += _affine(program.head, logs)
    return sums
