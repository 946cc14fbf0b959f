"""The terms of a program's costs by the stage that they belong to, for `chain`.

Of the layers of a stage none knows more than the width before, its own width, inner width, kernel
and depth. So each term is a product of powers of these, and what two stages share is a width.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from deepmad_jax.design.program.posynomials import Posynomials


class Term(NamedTuple):
    """``before^a width^b inner^c kernel^d squeeze^e`` of one stage.

    Attributes:
        column: of the program's coefficients.
        before, width, inner, kernel, squeeze: exponents; that of the width is beside the inner
            width itself, not beside their ratio.
        each: whether it counts for every repeated block.
        if_repeated: whether it counts once, if there is one.
        differs: whether it counts only where the stage changes the width.
    """

    column: int
    before: float
    width: float
    inner: float
    kernel: float
    squeeze: float
    each: bool
    if_repeated: bool
    differs: bool

    @property
    def of_pair(self) -> bool:
        """Whether it hangs on both widths, and on nothing else."""
        return self.differs or (self.before != 0 and self.width != 0)


@dataclasses.dataclass(frozen=True)
class StageTerms:
    """The terms by stage.

    Attributes:
        stages: those of each stage.
        stem: columns and exponents of terms of the stem's width alone.
        constant: columns of terms of no width at all.
        coefficients: the program's, (C, J), without the terms that fit nowhere: a cost is then
            counted too low, and a bound stays one.
        fits: whether the logs of fan-ins, too, are sums over stages that share a width.
    """

    stages: tuple[tuple[Term, ...], ...]
    stem: tuple[tuple[int, float], ...]
    constant: tuple[int, ...]
    coefficients: np.ndarray
    fits: bool


def stage_terms(program: Posynomials) -> StageTerms:
    """The terms of a program by stage."""
    at, count = program.layout, program.layout.stages
    stages: list[list[Term]] = [[] for _ in range(count)]
    stem: list[tuple[int, float]] = []
    constant: list[int] = []
    coefficients = np.array(program.coefficients)
    for column, row in enumerate(np.asarray(program.exponents)):
        widths = np.flatnonzero(row[at.widths])
        own = np.stack(
            [
                row[at.inner],
                row[at.kernel],
                program.squeezes[column],
                program.repeats[column],
                program.conditional[column],
                program.if_repeated[column],
            ]
        )
        named = np.flatnonzero(own.any(0))
        if not len(named):
            if not len(widths):
                constant.append(column)
                continue
            if widths.max() == 0:
                stem.append((column, float(row[0])))
                continue
            named = np.array([widths.max() - 1])
        i = int(named[0])
        term = Term(
            column,
            before=float(row[i]),
            width=float(row[1 + i] - own[0, i]),
            inner=float(own[0, i]),
            kernel=float(own[1, i]),
            squeeze=float(own[2, i]),
            each=bool(own[3, i] > 0),
            if_repeated=bool(own[5, i] > 0),
            differs=bool(own[4, i] > 0),
        )
        if len(named) == 1 and set(widths) <= {i, i + 1} and _fits(term):
            stages[i].append(term)
        else:
            coefficients[:, column] = 0.0
    return StageTerms(
        tuple(map(tuple, stages)), tuple(stem), tuple(constant), coefficients, _fan_ins_fit(program)
    )


def _fits(term: Term) -> bool:
    """Whether the recursion has a place for it."""
    inside = term.inner != 0 or term.kernel != 0 or term.squeeze != 0
    repeated = term.each or term.if_repeated
    if term.of_pair:
        return not inside and not repeated
    return term.before == 0 or not repeated


def _fan_ins_fit(program: Posynomials) -> bool:
    """Whether no fan-in of a stage names another's width but the one before."""
    at = program.layout
    for i in range(at.stages):
        for rows, places in (
            (program.first, (i, 1 + i, at.inner.start + i, at.kernel.start + i)),
            (program.rest, (1 + i, at.inner.start + i, at.kernel.start + i)),
            (program.merge, (i, 1 + i)),
        ):
            others = np.delete(np.asarray(rows)[i, :-1], places)
            if others.any():
                return False
    return True
