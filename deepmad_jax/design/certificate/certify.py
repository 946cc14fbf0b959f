"""How far at most a design is from the best: branch and bound over boxes of networks.

`certify` returns an upper bound on the objective over every integer network of the space that meets
the budgets. Each box of widths, ratios, kernels and depths is bounded by `bounds`, with multipliers
from `interior`; the bound is also used to shrink the box to where networks better than the
incumbent can lie; the box is then split where its relaxation is loosest. The boxes with the largest
bounds go first, many at a time in one compiled function for each shape of program, so the result
is valid and never worse the longer it runs. An exhausted tree proves the incumbent optimal. Most
trees are small, so the first boxes are bounded by a function that compiles at once, and only a
tree that outgrows it waits for one that runs faster. Where that tree does not close the gap, a
second one begins, whose boxes are bounded over their whole networks as well (`chain`).
"""

import dataclasses
import heapq
import itertools
import time
from collections.abc import Callable

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
from deepmad_jax.design.program.prepared import Prepared, prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.threads import one_thread
from deepmad_jax.errors import UserError

SMALL_BATCH, BATCH, ROOT_ROUNDS = 16, 64, 4
FEW = 1024
"""Boxes before the faster function is compiled: bounding so many takes about half that time."""

STALLED = 3e-3
"""Share of the objective that must be open after `FEW` boxes for a second tree to begin."""
RELAXED_A_CHAINED = 8
"""Boxes of the first tree for one of the second: each then gets about half of the time."""
FAILURES, RAREST = 8, 16
"""In a row after which `chain` is used for fewer boxes, and for one of how many at least."""
LOOSE = 0.3
"""Share of what a chain's bound leaves that a level's planes must account for, to be split."""


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is proved about a problem.

    Attributes:
        upper_bound: no feasible network of the space has a larger objective, nats.
        gap: ``(upper_bound - incumbent) / |incumbent|``.
        nodes: boxes bounded.
        boxes_left: boxes that may still hold a better network.
        seconds: wall time.
        exhausted: whether none is left: the incumbent is optimal.
    """

    upper_bound: float
    gap: float
    nodes: int
    boxes_left: int
    seconds: float
    exhausted: bool


Improve = Callable[[np.ndarray], float]
"""Relaxed optima of boxes, (boxes, 1 + 4 S), as in `bounds` -> the best objective now known."""


def certify(
    problem: Problem,
    incumbent: float,
    *,
    seconds: float = 60.0,
    nodes: float = np.inf,
    improve: Improve | None = None,
    share: float = 0.3,
) -> Certificate:
    """An upper bound on the objective over all integer networks of a problem.

    Args:
        problem: the space, weights and budgets; convention ``paper``.
        incumbent: objective of a known network; boxes that cannot beat the best are dropped.
        seconds: wall time after which the best bound so far is returned.
        nodes: boxes after which it is; with ``seconds`` infinite, results are reproducible.
        improve: looks for better networks where the bound leaves room; the incumbent then is the
            best that it has found.
        share: of the time that goes into that; of the batches, with ``seconds`` infinite.

    Raises:
        UserError: the problem uses the tinynas convention.
    """
    if problem.convention != "paper":
        raise UserError(
            f"design.convention is {problem.convention!r}, but a certificate bounds the paper's "
            "objective: set convention to paper, or switch the certificate off."
        )
    if not np.isfinite(incumbent):
        raise UserError(
            f"incumbent is {incumbent}, but a certificate measures from a finite objective: give "
            "that of any network within the budgets."
        )
    began = time.perf_counter()
    prepared = prepare(problem)
    trees = _Trees(prepared, incumbent)
    looked, due = 0.0, 0.0
    with one_thread():
        trees.begin()
        while trees.open and trees.nodes < nodes and time.perf_counter() - began < seconds:
            x = trees.step(nodes)
            now = time.perf_counter()
            due += share
            if (
                improve
                and len(x)
                and (due >= 1.0 if np.isinf(seconds) else looked <= share * (now - began))
            ):
                trees.take(improve(x))
                looked, due = looked + time.perf_counter() - now, due - 1.0
    best = trees.best
    upper, left = best.upper_bound(), best.left()
    return Certificate(
        upper_bound=upper,
        gap=gap_below(upper, best.incumbent),
        nodes=trees.nodes,
        boxes_left=left,
        seconds=time.perf_counter() - began,
        exhausted=left == 0,
    )


def gap_below(upper_bound: float, objective: float) -> float:
    """``(upper_bound - objective) / |objective|``; infinite for an objective of zero."""
    if not objective:
        return np.inf if upper_bound > 0 else 0.0
    return (upper_bound - objective) / abs(objective)


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


class _Trees:
    """One tree of relaxed boxes and, where that does not close the gap, a second with a chain.

    The relaxation closes most problems sooner by itself. Where it does not, a chain is of most use
    on large boxes, near the root, so it gets a tree of its own; the lower bound of both counts.
    """

    def __init__(self, prepared: Prepared, incumbent: float):
        self.prepared = prepared
        self.trees = [_Search(prepared, incumbent)]

    @property
    def best(self) -> "_Search":
        """The tree of the lowest bound."""
        return min(self.trees, key=lambda tree: tree.upper_bound())

    @property
    def nodes(self) -> int:
        """Boxes bounded in all."""
        return sum(tree.nodes for tree in self.trees)

    @property
    def open(self) -> bool:
        """Whether no tree is exhausted."""
        return all(tree.heap for tree in self.trees)

    def begin(self) -> None:
        """Bounds the whole space."""
        self.trees[-1].root()

    def take(self, incumbent: float) -> None:
        """Another network is known."""
        for tree in self.trees:
            tree.take(incumbent)

    def step(self, nodes: float) -> np.ndarray:
        """`_Search.step` of the tree whose turn it is, within so many boxes in all."""
        first, *others = self.trees
        if not others and first.nodes >= FEW:
            gap = gap_below(first.upper_bound(), first.incumbent)
            chain = Chain(self.prepared)
            if gap > STALLED and chain.terms.fits:
                self.trees.append(_Search(self.prepared, first.incumbent, chain))
                self.begin()
                return np.zeros((0, self.prepared.layout.size))
        behind = others and RELAXED_A_CHAINED * others[0].nodes < first.nodes
        tree = others[0] if behind else first
        return tree.step(int(max(min(tree.batch, nodes - self.nodes), 1)))


class _Search:
    """Open boxes in a heap, largest bound first; with a chain, bounded by that as well."""

    def __init__(self, prepared: Prepared, incumbent: float, chain: Chain | None = None):
        self.prepared, self.program = prepared, prepared.bounding
        self.incumbent = float(incumbent)
        self.first = _whole_space(prepared)
        self.chain = chain
        self._patience = Patience()
        self.nodes = 0
        self.heap: list[tuple[float, int, Boxes, Found | None]] = []
        self.closed: list[float] = []  # bounds of boxes that cannot be split further
        self._order = itertools.count()

    @property
    def batch(self) -> int:
        """Boxes that are bounded together next."""
        return SMALL_BATCH if self.nodes < FEW else BATCH

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
        bound = bound_few if self.nodes < FEW else bound_many
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


def _whole_space(prepared: Prepared) -> Boxes:
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
