"""Better networks from where a branch and bound still finds room for them.

A relaxed optimum over a box of networks names depths, kernels and equal widths. Those that no
search has tried are valued (`search.fixed_choices`), and the promising ones made whole one width
after another (`search.dive`), then improved by the exact local search.
"""

import dataclasses
import itertools

import numpy as np

from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.certificate.certify import Certificate, certify, gap_below
from deepmad_jax.design.certificate.tree import network_at
from deepmad_jax.design.program.evaluate import Numbers, point_of
from deepmad_jax.design.program.lattice import chosen as sizes_at
from deepmad_jax.design.program.lattice import nearest, nearest_choices
from deepmad_jax.design.program.prepared import Prepared, prepare
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.search.alternatives import best_differing
from deepmad_jax.design.search.ascent import INFEASIBLE, Ascent
from deepmad_jax.design.search.choices import Choices
from deepmad_jax.design.search.dive import dive
from deepmad_jax.design.search.fixed_choices import FixedChoices
from deepmad_jax.design.search.projection import Alternative, networks_of
from deepmad_jax.errors import UserError

DIVED = 16  # choices made whole at a time
ASCENDED = 3  # networks that get the local search at a time
LOOSE = 2  # depths farthest from whole numbers that are rounded both ways


@dataclasses.dataclass(frozen=True)
class Proved:
    """A design, improved while its bound was sought.

    Attributes:
        architecture: the best network known.
        numbers: the program's, at it.
        gained: objective above that of the design given, nats; 0 where nothing better was met.
        certificate: of how far the best network is from optimal at most.
        alternatives: the networks that come next, as many as the problem asks for.
    """

    architecture: Architecture
    numbers: Numbers
    gained: float
    certificate: Certificate
    alternatives: tuple[Alternative, ...]


def prove(
    problem: Problem,
    design: Architecture,
    *,
    seconds: float = 60.0,
    nodes: float = np.inf,
    share: float = 0.3,
) -> Proved:
    """Bounds the program, hands every better network back, and ends with the best one.

    Where kinds of the stages are open, every choice of them is bounded, each for an equal share of
    the time, and better networks are sought among those of the design's own kinds.

    Args:
        problem: the space, weights and budgets; convention ``paper``.
        design: a network of the space within the budgets.
        seconds, nodes: see `certify`.
        share: of the time that goes into the search for better networks.

    Raises:
        UserError: see `certify`; or ``design`` is none such.
    """
    settled = problem.settled_as(design)
    others = [other for other in problem.settlements if other != settled]
    each = seconds / (1 + len(others))
    prepared = prepare(settled)
    given = nearest(prepared.lattice, point_of(design))
    improver = _Improver(prepared, given)
    began_at = improver.value
    if began_at <= INFEASIBLE:
        raise UserError(
            f"The network {design.name} is not in the problem's space or does not meet its limits: "
            "a bound needs one that does, such as the design job gives."
        )
    certificate = certify(
        settled, began_at, seconds=each, nodes=nodes, improve=improver, share=share
    )
    for other in others:
        certificate = _with(
            certificate, certify(other, improver.value, seconds=each, nodes=nodes), improver.value
        )
    points = [improver.best]
    if problem.alternatives:
        points = best_differing(improver.search, [improver.best, given], problem.alternatives + 1)
    first, *next_best = networks_of(improver.search, points, design.name)
    gained = float(first.numbers.objective) - began_at
    return Proved(first.architecture, first.numbers, gained, certificate, tuple(next_best))


def _with(one: Certificate, other: Certificate, incumbent: float) -> Certificate:
    """The certificate of two spaces together."""
    upper = max(one.upper_bound, other.upper_bound)
    return Certificate(
        upper_bound=upper,
        gap=gap_below(upper, incumbent),
        nodes=one.nodes + other.nodes,
        boxes_left=one.boxes_left + other.boxes_left,
        seconds=one.seconds + other.seconds,
        exhausted=one.exhausted and other.exhausted,
    )


class _Improver:
    """The best network known; called with relaxed optima, it looks for a better one."""

    def __init__(self, prepared: Prepared, best: np.ndarray):
        self.prepared = prepared
        self.search = Ascent(prepared)
        self.best, self.value = best, float(self.search.score(best[None])[0])
        self._fixed = FixedChoices(prepared)
        self._tried: set[bytes] = set()
        self._ties_pay = self._fixed.conditional.any()

    def __call__(self, x: np.ndarray) -> float:
        """The best objective known after a look around relaxed optima, (count, 1 + 4 S).

        Their logs are of widths, inner / width and kernels, their depths the blocks after the
        first of a stage.
        """
        parts, lattice = self.prepared.layout, self.prepared.lattice
        near = np.array([nearest(lattice, network_at(parts, at)) for at in x])
        scores = self.search.score(near)
        self._take(near[scores.argmax()], float(scores.max()))
        new = self._choices(x)
        if not len(new.value):
            return self.value
        leading = new.taken(np.argsort(-new.value, kind="stable")[:DIVED])
        leading = leading.taken(np.flatnonzero(leading.value > self.value))
        if len(leading.value):
            points = dive(self.prepared, self._fixed, leading, 2 * DIVED)
            scores = self.search.score(points)
            for i in np.argsort(-scores, kind="stable")[:ASCENDED]:
                self._take(*self.search.ascend(points[i], 2))
        return self.value

    def _take(self, u: np.ndarray, value: float) -> None:
        if value > max(self.value, INFEASIBLE):
            self.best, self.value = u, value

    def _choices(self, x: np.ndarray) -> Choices:
        """Choices near relaxed optima that were not tried yet, with their values."""
        parts, lattice = self.prepared.layout, self.prepared.lattice
        rows = []
        for at in x:
            kernel = nearest_choices(lattice, np.exp(at[parts.kernel]))
            tied = (np.abs(np.diff(at[parts.widths])) < 1e-6) & self._ties_pay
            for depth in _roundings(at[parts.depth] + 1.0):
                depth = np.clip(depth, lattice.low[parts.depth], lattice.high[parts.depth])
                key = np.concatenate([depth, kernel, tied]).tobytes()
                if key not in self._tried:
                    self._tried.add(key)
                    y = at[parts.shape].copy()
                    if not self._fixed.ratio_fixed:
                        y[parts.inner] += at[parts.width]
                    rows.append((depth, kernel, tied, y))
        if not rows:
            empty = np.zeros((0, parts.stages))
            return Choices(empty, empty.astype(int), empty > 0, np.zeros(0), np.zeros((0, 0)))
        depth, kernel, tied, y = (np.array(part) for part in zip(*rows, strict=True))
        chosen = np.full(y.shape, np.nan)
        chosen[:, parts.kernel] = np.log(sizes_at(lattice.kernels, kernel))
        values = self._fixed.solve(depth, y, chosen, tied if tied.any() else None)
        return Choices(depth, kernel, tied, values.value, values.y)


def _roundings(depth: np.ndarray) -> list[np.ndarray]:
    """The nearest whole depths, with those farthest from one rounded both ways."""
    near = np.rint(depth)
    loose = np.argsort(-np.abs(depth - near), kind="stable")[:LOOSE]
    found = []
    for ends in itertools.product((0.0, 1.0), repeat=len(loose)):
        other = near.copy()
        other[loose] = np.floor(depth[loose]) + ends
        found.append(other)
    return found
