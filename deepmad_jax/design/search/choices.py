"""The most promising depths, kernels and equal widths of a problem, by their relaxed optima.

With depths, kernels and ties fixed, the relaxation is nearly tight: its value ranks the choices by
what their best networks reach, and the best integer network has most often one of the first few. A
best-first search over steps of the choices finds them, a batch of relaxed solves (`fixed_choices`)
at a time: first over depths alone, kernels left free; then, from the leading depths, over kernels
and, where equal widths save a projection, over ties as well.
"""

import itertools
from typing import NamedTuple

import numpy as np

from deepmad_jax.design.program.lattice import chosen as sizes_at
from deepmad_jax.design.program.lattice import nearest_choices
from deepmad_jax.design.program.prepared import Prepared
from deepmad_jax.design.search.fixed_choices import FixedChoices

EXPANDED = 4  # choices whose neighbours are valued at once
TURNS, MOST_TURNS = 3, 10  # of such valuations, in each part; beyond the first while they gain
NEAR = 128  # vectors of depths around the relaxed ones, where the search begins
LEADING = 24  # vectors of depths whose kernels and ties are sought
_FREE = -1

Choice = tuple[int, ...]
"""Depths of the stages, then indices of kernels or `_FREE`, then 1 for a tied width or 0."""


class Choices(NamedTuple):
    """Choices with their relaxed optima, best first.

    Attributes:
        depth: blocks, (choices, S).
        kernel: indices into the problem's sizes, ascending, same shape.
        tied: whether a stage is as wide as the one before and no projection counts, same shape.
        value, y: see `fixed_choices.Values`.
    """

    depth: np.ndarray
    kernel: np.ndarray
    tied: np.ndarray
    value: np.ndarray
    y: np.ndarray

    def taken(self, index: np.ndarray) -> "Choices":
        """Those of the indices, in their order."""
        return Choices(*(part[index] for part in self))


def leading_choices(prepared: Prepared, fixed: FixedChoices, x: np.ndarray, count: int) -> Choices:
    """The most promising choices, at most ``count``.

    Args:
        prepared: a problem in the paper's convention.
        fixed: of the problem.
        x: the relaxed optimum, (1 + 4 S,), where the search begins.
        count: choices given, at most.
    """
    search = _Search(prepared, fixed, x)
    depth_moves, other_moves = search.depth_moves(), search.other_moves()
    search.climb(search.near(x), depth_moves)
    if len(other_moves):
        first = [search.settled(choice) for choice in search.ranked()[:LEADING]]
        search.restart()
        search.climb(first, np.concatenate([depth_moves, other_moves]))
    return search.choices(count)


class _Search:
    """What was found so far: choices with their values and y."""

    def __init__(self, prepared: Prepared, fixed: FixedChoices, x: np.ndarray):
        lattice, self.layout = prepared.lattice, prepared.layout
        self.stages = stages = self.layout.stages
        self.fixed, self.lattice = fixed, lattice
        several = (lattice.high > lattice.low)[self.layout.kernel]
        self.kernel_stages = np.flatnonzero(several)
        self.at = fixed.unknowns_of(x)
        self.ties_pay = fixed.conditional.any()
        low, high = (ends[self.layout.depth] for ends in (lattice.low, lattice.high))
        self.low = np.concatenate([low, np.full(stages, _FREE), np.zeros(stages)])
        self.high = np.concatenate([high, lattice.high[self.layout.kernel], np.ones(stages)])
        self.found: dict[Choice, tuple[float, np.ndarray]] = {}

    def near(self, x: np.ndarray) -> list[Choice]:
        """The whole depths nearest to the relaxed optimum's, all else left free.

        Steps of a block or two would not reach them all: what lies between may miss the budgets.
        """
        stages, real = self.stages, np.exp(x[self.layout.depth])
        each = (
            np.floor(real)[:, None]
            + np.argsort(
                np.abs(np.arange(-1, 3) + 0.0 - (real % 1.0)[:, None]), axis=1, kind="stable"
            )[:, :3]
            - 1.0
        )
        each = np.clip(each, self.low[:stages, None], self.high[:stages, None])
        every = np.stack(np.meshgrid(*each, indexing="ij"), axis=-1).reshape(-1, stages)
        away = ((every - real) ** 2).sum(-1)
        nearest = every[np.argsort(away, kind="stable")[:NEAR]].astype(int).tolist()
        return [(*depth, *[_FREE] * stages, *[0] * stages) for depth in nearest]

    def depth_moves(self) -> np.ndarray:
        """A block more or less in one stage, or from one stage to another."""
        eye = np.eye(self.stages, dtype=int)
        pairs = itertools.permutations(range(self.stages), 2)
        moves = [*eye, *-eye, *(eye[i] - eye[j] for i, j in pairs)]
        return np.pad(np.array(moves), ((0, 0), (0, 2 * self.stages)))

    def other_moves(self) -> np.ndarray:
        """Another kernel in one stage, or one tie more or less; nothing where neither applies."""
        eye = np.eye(3 * self.stages, dtype=int)
        kernels, ties = eye[self.stages : 2 * self.stages], eye[2 * self.stages :]
        moves = np.zeros((0, 3 * self.stages), dtype=int)
        if len(self.kernel_stages):
            moves = np.concatenate([kernels[self.kernel_stages], -kernels[self.kernel_stages]])
        return np.concatenate([moves, ties, -ties]) if self.ties_pay else moves

    def settled(self, choice: Choice) -> Choice:
        """The choice with the kernels and ties nearest to its relaxed optimum."""
        stages, y = self.stages, self.found[choice][1]
        kernel = nearest_choices(self.lattice, np.exp(y[self.layout.kernel]))
        tied = (np.abs(np.diff(y[self.layout.widths])) < 0.02) & self.ties_pay
        return (*choice[:stages], *kernel.tolist(), *tied.astype(int).tolist())

    def restart(self) -> None:
        """Forgets what was found, and from now on leaves no kernel free."""
        self.found, self.low[self.stages : 2 * self.stages] = {}, 0

    def climb(self, first: list[Choice], moves: np.ndarray) -> None:
        """Values the neighbours of the best choices not yet expanded, turn by turn."""
        self.value(np.array(first))
        expanded: set[Choice] = set()
        for turn in range(MOST_TURNS):
            leader = self.ranked()[0]
            if turn >= TURNS and leader in expanded:
                return
            best = [c for c in self.ranked()[: 3 * EXPANDED] if c not in expanded][:EXPANDED]
            if not best:
                return
            expanded |= set(best)
            self.value((np.array(best)[:, None] + moves).reshape(-1, 3 * self.stages))

    def value(self, choices: np.ndarray) -> None:
        """Adds those that lie inside the bounds and are new, (choices, 3 S)."""
        inside = ((choices >= self.low) & (choices <= self.high)).all(-1)
        distinct = dict.fromkeys(map(tuple, choices[inside].tolist()))
        new = [choice for choice in distinct if choice not in self.found]
        if not new:
            return
        depth, kernel, tied = np.split(np.array(new), 3, axis=1)
        chosen = np.full((len(new), len(self.at)), np.nan)
        if not (kernel == _FREE).any():
            chosen[:, self.layout.kernel] = np.log(sizes_at(self.lattice.kernels, kernel))
        ties = tied > 0 if tied.any() else None
        values = self.fixed.solve(depth.astype(float), self.at, chosen, ties)
        self.found |= dict(zip(new, zip(values.value.tolist(), values.y, strict=True), strict=True))

    def ranked(self) -> list[Choice]:
        """Best first."""
        return sorted(self.found, key=lambda choice: -self.found[choice][0])

    def choices(self, count: int) -> Choices:
        """The best, at most ``count``; a kernel left free is the only one."""
        ranked = self.ranked()[:count]
        depth, kernel, tied = np.split(np.array(ranked), 3, axis=1)
        value, y = zip(*(self.found[choice] for choice in ranked), strict=True)
        kernel = np.maximum(kernel, 0)
        return Choices(depth.astype(float), kernel, tied > 0, np.array(value), np.array(y))
