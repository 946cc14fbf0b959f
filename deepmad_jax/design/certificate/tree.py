"""A tree of boxes of networks, those of largest bound first.

Each box of widths, ratios, kernels and depths is bounded by `bounds`, with multipliers from
`interior`; the bound is also used to shrink the box to where networks better than the incumbent can
lie; the box is then split where its relaxation is loosest. Many are bounded at a time in one
compiled function for each shape of program. Most trees are small, so the first boxes are bounded by
a function that compiles at once, and only a tree that outgrows it waits for one that runs faster.
"""

import heapq
import itertools

import jax
import numpy as np

from deepmad_jax.design.certificate.bounds import Multipliers
from deepmad_jax.design.certificate.boxes import Bounded, Boxes, bound_few, bound_many
from deepmad_jax.design.certificate.chain import Chain, ChainBox
from deepmad_jax.design.certificate.cutting_planes import Found, least, prices_of
from deepmad_jax.design.program.evaluate import Point, evaluate, within_limits
from deepmad_jax.design.program.lattice import (
    inner_bounds,
    nearest,
    structural_violation,
    to_point,
)
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.prepared import Prepared

SMALL_BATCH, BATCH, ROOT_ROUNDS = 16, 64, 4
FEW = 1024
"""Boxes before the faster function is compiled: bounding so many takes about half that time."""

FAILURES, RAREST = 8, 16
"""In a row after which `chain` is used for fewer boxes, and for one of how many at least."""
LOOSE = 0.3
"""Share of what a chain's bound leaves that a level's planes must account for, to be split."""


class Patience:
    """When a bound that takes longer is due: rarely, where it pruned nothing for many boxes."""

    def __init__(self) -> None:
        self._failed, self._skipped = 0, 0

    def due(self) -> bool:
        """Whether it is this box's turn."""
        self._skipped += 1
        return self._skipped >= min(2 ** max(self._failed - FAILURES, 0), RAREST)

    def told(self, pruned: bool) -> None:
        """What came of it."""
        self._skipped = 0
        self._failed = 0 if pruned else self._failed + 1


class Tree:
    """Open boxes in a heap, largest bound first; with a chain, bounded by that as well."""

    def __init__(self, prepared: Prepared, incumbent: float, chain: Chain | None = None):
        self.prepared, self.program = prepared, prepared.bounding
        self.incumbent = float(incumbent)
        self.first = whole_space(prepared)
        self.chain = chain
        self._patience = Patience()
        self.nodes = 0
        self.heap: list[tuple[float, int, Boxes, Found | None]] = []
        self.closed: list[float] = []  # bounds of boxes that cannot be split further
        self._order = itertools.count()

    @property
    def grown(self) -> bool:
        """Whether it is one of the few that `FEW` boxes do not close."""
        return self.nodes >= FEW

    @property
    def batch(self) -> int:
        """Boxes that are bounded together next."""
        return BATCH if self.grown else SMALL_BATCH

    def upper_bound(self) -> float:
        """The largest objective that the open boxes, or the incumbent, leave possible."""
        return max([self.incumbent, *self.closed, *(-item[0] for item in self.heap[:1])])

    def root(self) -> None:
        """Bounds the whole space, shrinking it and the ranges of its entropies a few times."""
        levels = len(self.program.alpha)
        box, bound = self.first, np.inf
        rows = np.concatenate([self.program.alpha[None], np.eye(levels)])
        for _ in range(ROOT_ROUNDS):
            # One row for the objective, and one for the most that each level's entropy can be.
            repeated = Boxes(*(np.repeat(part[None], levels + 1, axis=0) for part in box))
            result = self._bounded(repeated, rows, np.r_[self.program.beta, np.zeros(levels)])
            bound = min(bound, float(result.bound[0]))
            box = Boxes(*(part[0] for part in result.boxes))
            entropy_high = np.minimum(box.entropy_high, result.bound[1:])
            box = box._replace(entropy_high=entropy_high)
        if bound > self.incumbent:
            self._push(bound, box, None)

    def left(self) -> int:
        """How many boxes may hold a better network than the incumbent."""
        return sum(bound > self.incumbent for bound in (*self.closed, *(-b for b, *_ in self.heap)))

    def take(self, incumbent: float) -> None:
        """Another network is known."""
        self.incumbent = max(self.incumbent, incumbent)

    def step(self, count: int) -> np.ndarray:
        """Bounds and splits the boxes of largest bound; relaxed optima of those left, best first.

        Shape (boxes, 1 + 4 S).
        """
        count = min(count, len(self.heap))
        taken = [heapq.heappop(self.heap) for _ in range(count)]
        boxes = Boxes(*map(np.stack, zip(*(item[2] for item in taken), strict=True)))
        alpha = np.repeat(self.program.alpha[None], count, axis=0)
        result = self._bounded(boxes, alpha, np.repeat(self.program.beta, count))
        bounds = np.minimum([-parent for parent, *_ in taken], result.bound)
        whole: list[np.ndarray] = []
        for i in range(count):
            if bounds[i] <= self.incumbent:
                continue
            box = Boxes(*(part[i] for part in result.boxes))
            axis = int(result.axis[i])
            if axis < 0:
                self._close(box.low, box.high)
                continue
            found, left, right = None, result.left[i], result.right[i]
            networks = self._whole(box)
            if networks is not None:
                by = Multipliers(*(part[i] for part in result.multipliers))
                before = taken[i][3] or Found(np.inf, prices_of(by), [])
                found = least(networks, before.prices, before.networks, self.incumbent)
                self._patience.told(found.bound <= self.incumbent)
                bounds[i] = min(bounds[i], found.bound)
                if bounds[i] <= self.incumbent:
                    continue
                whole.append(found.networks[-1].unknowns)
                axis, left, right = self._at_level(networks, found) or (axis, left, right)
            below, above = box.high.copy(), box.low.copy()
            below[axis], above[axis] = left, right
            self._push(float(bounds[i]), box._replace(high=below), found)
            self._push(float(bounds[i]), box._replace(low=above), found)
        order = np.argsort(-bounds, kind="stable")
        return np.array([*whole, *result.x[order[bounds[order] > self.incumbent]]])

    def _whole(self, boxes: Boxes) -> ChainBox | None:
        """A box's whole networks, where their bound is due and they are not too many."""
        box = None if self.chain is None else self.chain.box(*boxes, self.incumbent)
        return None if box is None or box.empty or not self._patience.due() else box

    def _at_level(self, box: ChainBox, found: Found) -> tuple[int, float, float] | None:
        """Where to split, if it is a level's planes that leave the bound of whole networks loose.

        An axis and the ends on either side; None if it is not.
        """
        network = found.networks[-1]
        width, loose = box.loosest_level(network, found.prices)
        values = box.widths[width]
        if len(values) == 1 or loose <= LOOSE * (found.bound - self.incumbent):
            return None
        at = min(int(np.searchsorted(values, network.widths[width])), len(values) - 2)
        return width, float(np.log(values[at])), float(np.log(values[at + 1]))

    def _close(self, low: np.ndarray, high: np.ndarray) -> None:
        """Takes the one network that a box holds at its exact value."""
        at = nearest(self.prepared.lattice, network_at(self.prepared.layout, 0.5 * (low + high)))
        value = float(objectives(self.prepared, at[None])[0])
        if value > self.incumbent:
            self.closed.append(value)

    def _push(self, bound: float, box: Boxes, found: Found | None) -> None:
        heapq.heappush(self.heap, (-bound, next(self._order), box, found))

    def _bounded(self, boxes: Boxes, alpha: np.ndarray, beta: np.ndarray) -> Bounded:
        count = len(boxes.low)
        batch = max(self.batch, count)  # the root's rows may be more
        bound = bound_many if self.grown else bound_few
        self.nodes += count
        fill = np.arange(batch) % count  # one shape, one compilation
        with jax.enable_x64(True):
            result = bound(
                self.program,
                np.float64(self.incumbent),
                Boxes(*(part[fill] for part in boxes)),
                alpha[fill],
                beta[fill],
            )
            return jax.tree.map(lambda part: np.asarray(part)[:count], result)


def network_at(parts: Layout, x: np.ndarray) -> Point:
    """The network, of real widths and depths, at unknowns x of `bounds`, (1 + 4 S,)."""
    width = np.exp(x[parts.width])
    inner = width * np.exp(x[parts.inner])
    return Point(np.exp(x[0]), width, inner, np.exp(x[parts.kernel]), x[parts.depth] + 1.0)


def objectives(prepared: Prepared, u: np.ndarray) -> np.ndarray:
    """Those at lattice coordinates, (networks, 1 + 4 S); -inf where a limit is not met."""
    point = to_point(prepared.lattice, u)
    numbers = evaluate(prepared.form, prepared.data, point)
    met = within_limits(prepared.form, prepared.data, numbers)
    met &= structural_violation(prepared.lattice, prepared.data.monotone, point) <= 1e-9
    return np.where(met, numbers.objective, -np.inf)


def whole_space(prepared: Prepared) -> Boxes:
    """The box that holds every network of the lattice."""
    problem, lattice, parts = prepared.problem, prepared.lattice, prepared.layout
    stages, m = parts.stages, lattice.multiple
    ratio = np.log([problem.inner_ratio[0], problem.inner_ratio[-1]])
    # The lattice lets a ratio pass by a rounding, which the box must hold too.
    ratio = ratio + np.array([-1e-8, 1e-8])
    if problem.fixed_ratio:
        widths = np.arange(lattice.low[parts.width].min(), lattice.high[parts.width].max() + 1) * m
        least, most = inner_bounds(lattice, widths)
        exact = np.log((least / widths)[least <= most])
        if exact.size:
            ratio = np.array([exact.min(), exact.max()])
    low: list[np.ndarray] = []
    high: list[np.ndarray] = []
    for ends, at in ((low, 0), (high, 1)):
        bound = (lattice.low, lattice.high)[at]
        ends += [
            np.log(bound[parts.widths] * m),
            np.full(stages, ratio[at]),
            np.log(lattice.kernels[:, -at]),
            bound[parts.depth] - 1.0,
            np.log(bound[parts.width] * m) + ratio[at],
        ]
    levels = len(problem.level_ends)
    return Boxes(np.concatenate(low), np.concatenate(high), np.full(levels, 1e15))
