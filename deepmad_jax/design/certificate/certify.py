"""How far at most a design is from the best: branch and bound over boxes of networks.

`certify` returns an upper bound on the objective over every integer network of the space that meets
the budgets. The boxes with the largest bounds go first (`tree`), so the result is valid and never
worse the longer it runs. An exhausted tree proves the incumbent optimal. Where the tree does not
close the gap, a second one begins, whose boxes are bounded over their whole networks as well
(`chain`).
"""

import dataclasses
import functools
import time
from collections.abc import Callable

import numpy as np

from deepmad_jax.design.certificate.chain import Chain
from deepmad_jax.design.certificate.tree import Tree
from deepmad_jax.design.program.prepared import Prepared, prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.threads import one_thread
from deepmad_jax.errors import UserError

STALLED = 3e-3
"""Share of the objective that must be open where a tree has `grown` for a second tree to begin."""
RELAXED_A_CHAINED = 8
"""Boxes of the first tree for one of the second: each then gets about half of the time."""


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


class _Trees:
    """One tree of relaxed boxes and, where that does not close the gap, a second with a chain.

    The relaxation closes most problems sooner by itself. Where it does not, a chain is of most use
    on large boxes, near the root, so it gets a tree of its own; the lower bound of both counts.
    """

    def __init__(self, prepared: Prepared, incumbent: float):
        self.prepared = prepared
        self.trees = [Tree(prepared, incumbent)]

    @functools.cached_property
    def chain(self) -> Chain:
        """Of the problem; laid out once, and only where it is asked for."""
        return Chain(self.prepared)

    @property
    def best(self) -> Tree:
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
        """`Tree.step` of the tree whose turn it is, within so many boxes in all."""
        first, *others = self.trees
        if not others and first.grown:
            gap = gap_below(first.upper_bound(), first.incumbent)
            if gap > STALLED and self.chain.terms.fits:
                self.trees.append(Tree(self.prepared, first.incumbent, self.chain))
                self.begin()
                return np.zeros((0, self.prepared.layout.size))
        behind = others and RELAXED_A_CHAINED * others[0].nodes < first.nodes
        tree = others[0] if behind else first
        return tree.step(int(max(min(tree.batch, nodes - self.nodes), 1)))
