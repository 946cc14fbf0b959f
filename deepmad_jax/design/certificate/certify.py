"""How far at most a design is from the best: branch and bound over boxes of networks.

`certify` returns an upper bound on the objective over every integer network of the space that meets
the budgets. Each box of widths, ratios, kernels and depths is bounded by `bounds`, with multipliers
from `interior`; the bound is also used to shrink the box to where networks better than the
incumbent can lie; the box is then split where its relaxation is loosest. The boxes with the largest
bounds go first, many at a time in one compiled function for each shape of program, so the result
is valid and never worse the longer it runs. An exhausted tree proves the incumbent optimal.
"""

import dataclasses
import heapq
import itertools
import time

import jax
import numpy as np

from deepmad_jax.design.certificate.boxes import Bounded, Boxes, bound_boxes
from deepmad_jax.design.program.lattice import inner_bounds
from deepmad_jax.design.program.prepared import Prepared, prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.threads import one_thread
from deepmad_jax.errors import UserError

BATCH, ROOT_ROUNDS = 64, 4


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


def certify(
    problem: Problem, incumbent: float, *, seconds: float = 60.0, nodes: float = np.inf
) -> Certificate:
    """An upper bound on the objective over all integer networks of a problem.

    Args:
        problem: the space, weights and budgets; convention ``paper``.
        incumbent: objective of the best network known; boxes that cannot beat it are dropped.
        seconds: wall time after which the best bound so far is returned.
        nodes: boxes after which it is; with ``seconds`` infinite, results are reproducible.
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
    search = _Search(prepare(problem), incumbent)
    with one_thread():
        search.root()
        while search.heap and search.nodes < nodes and time.perf_counter() - began < seconds:
            search.step(int(min(BATCH, nodes - search.nodes)))
    upper = search.upper_bound()
    # Beside a zero incumbent any gap is infinite; the bound itself still says how far.
    gap = (upper - incumbent) / abs(incumbent) if incumbent else (upper > 0) * np.inf
    left = len(search.heap) + len(search.closed)
    return Certificate(
        upper_bound=upper,
        gap=float(gap),
        nodes=search.nodes,
        boxes_left=left,
        seconds=time.perf_counter() - began,
        exhausted=left == 0,
    )


class _Search:
    """Open boxes in a heap, largest bound first."""

    def __init__(self, prepared: Prepared, incumbent: float):
        self.program = prepared.posynomials
        self.incumbent = float(incumbent)
        self.first = _whole_space(prepared)
        self.nodes = 0
        self.heap: list[tuple[float, int, tuple[np.ndarray, ...]]] = []
        self.closed: list[float] = []  # bounds of boxes that cannot be split further
        self._order = itertools.count()

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
            self._push(bound, tuple(box))

    def step(self, count: int) -> None:
        """Bounds and splits the boxes of largest bound."""
        count = min(count, len(self.heap))
        taken = [heapq.heappop(self.heap) for _ in range(count)]
        boxes = Boxes(*(np.stack(parts) for parts in zip(*(t[2] for t in taken), strict=True)))
        alpha = np.repeat(self.program.alpha[None], count, axis=0)
        result = self._bounded(boxes, alpha, np.repeat(self.program.beta, count))
        for i, (parent, _, _) in enumerate(taken):
            bound = min(-parent, float(result.bound[i]))
            if bound <= self.incumbent:
                continue
            low, high, entropy_high = (part[i] for part in result.boxes)
            axis = int(result.axis[i])
            if axis < 0:
                self.closed.append(bound)
                continue
            below, above = high.copy(), low.copy()
            below[axis], above[axis] = result.left[i], result.right[i]
            self._push(bound, (low, below, entropy_high))
            self._push(bound, (above, high, entropy_high))

    def _push(self, bound: float, box: tuple[np.ndarray, ...]) -> None:
        heapq.heappush(self.heap, (-bound, next(self._order), box))

    def _bounded(self, boxes: Boxes, alpha: np.ndarray, beta: np.ndarray) -> Bounded:
        count = len(boxes.low)
        self.nodes += count
        fill = np.arange(BATCH) % count  # one shape, one compilation
        with jax.enable_x64(True):
            result = bound_boxes(
                self.program,
                np.float64(self.incumbent),
                Boxes(*(part[fill] for part in boxes)),
                alpha[fill],
                beta[fill],
            )
            return jax.tree.map(lambda part: np.asarray(part)[:count], result)


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
            np.full(stages, np.log(lattice.kernels[-at])),
            bound[parts.depth] - 1.0,
        ]
    levels = len(problem.level_ends)
    return Boxes(np.concatenate(low), np.concatenate(high), np.full(levels, 1e15))
