"""From relaxed widths to whole ones, one width at a time: a beam search over relaxed optima.

Widths are fixed to whole multiples in turn, the coarsest first, where a step weighs most; the rest
of the network then moves to the relaxed optimum around what is fixed (`fixed_choices`), so that the
widths fixed last make up for those before. Of each width the nearest few multiples are tried, and
the choices of greatest value go on.
"""

from collections import Counter

import numpy as np

from deepmad_jax.design.program.lattice import Lattice, inner_bounds, repair
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.search.choices import Choices
from deepmad_jax.design.search.fixed_choices import FixedChoices

NEAREST, COARSE_NEAREST = 3, 5  # multiples of a width that are tried
COARSE = 5  # multiples below which a width is coarse
ALIKE = 1  # networks of the same depths, kernels and ties in the diverse half of the beam


def dive(
    problem: Problem, lattice: Lattice, fixed: FixedChoices, choices: Choices, beam: int
) -> np.ndarray:
    """Lattice coordinates of promising integer networks, best first, (networks, 1 + 4 S).

    Most meet the budgets, some miss them by a little; what a squeeze is rounded by is not in their
    value.

    Args:
        problem, lattice, fixed: the problem.
        choices: where to begin.
        beam: partly whole networks that go on from each width to the next.
    """
    stages, m = problem.num_stages, problem.multiple_of
    widths = 1 + (1 if problem.fixed_ratio else 2) * stages
    chosen = np.full(choices.y.shape, np.nan)
    chosen[:, 1 + 2 * stages :] = np.log(lattice.kernels[choices.kernel])
    sizes = choices.y[0, :widths].copy()
    # A width that others are tied to is fixed before them.
    sizes[: 1 + stages] = np.maximum.accumulate(sizes[: 1 + stages])
    for at in np.argsort(sizes, kind="stable"):
        near = _candidates(problem, lattice, choices, chosen, int(at))
        parent, which = np.nonzero(~np.isnan(near))
        if not len(parent):
            break  # what is fixed leaves this width nothing: the search repairs it
        chosen, choices = chosen[parent], choices.taken(parent)
        chosen[:, at] = np.log(near[parent, which] * m)
        tied = choices.tied if choices.tied.any() else None
        values = fixed.solve(choices.depth, choices.y, chosen, tied)
        choices = choices._replace(value=values.value, y=values.y)
        best = _best(choices, beam)
        chosen, choices = chosen[best], choices.taken(best)
    whole = np.rint(np.exp(choices.y[:, : 1 + 2 * stages]) / m)
    u = np.concatenate([whole, choices.kernel, choices.depth], axis=1)
    return np.asarray(repair(lattice, u))


def _candidates(
    problem: Problem, lattice: Lattice, choices: Choices, chosen: np.ndarray, at: int
) -> np.ndarray:
    """Distinct multiples to try for one width, NaN for none, (choices, `COARSE_NEAREST`)."""
    low, high = _range(problem, lattice, np.exp(chosen) / problem.multiple_of, at)
    real = np.exp(choices.y[:, at]) / problem.multiple_of
    # On a coarse lattice the second nearest below or above may be the best.
    count = COARSE_NEAREST if real[0] < COARSE else NEAREST
    near = np.rint(real)[:, None] + np.arange(count) - count // 2
    if 1 <= at <= problem.num_stages:  # a tied width follows the one before, whatever stands here
        near = np.where(choices.tied[:, at - 1, None], near[:, :1], near)
    near = np.clip(near, low[:, None], high[:, None])
    repeated = np.diff(near, axis=1, prepend=-1.0) == 0
    return np.where(repeated | (low > high)[:, None], np.nan, near)


def _best(choices: Choices, beam: int) -> np.ndarray:
    """Indices of the greatest values, half of them of few of the same choice each.

    Where few whole networks of the best choice meet the budgets, only many of that choice find
    them; where widths are coarse, another choice may be better in the end.
    """
    order = np.argsort(-choices.value, kind="stable")
    kept, same = list(order[: beam - beam // 2]), Counter[bytes]()
    parts = np.concatenate([choices.depth, choices.kernel, choices.tied], axis=1)
    for i in order[len(kept) :]:
        key = parts[i].tobytes()
        same[key] += 1
        if same[key] <= ALIKE and len(kept) < beam:
            kept.append(i)
    return np.array(kept)


def _range(
    problem: Problem, lattice: Lattice, chosen: np.ndarray, at: int
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest multiples that one width may be beside those already fixed, (choices,)."""
    stages, slack = problem.num_stages, 1e-9
    low = [np.full(len(chosen), lattice.low[at])]
    high = [np.full(len(chosen), lattice.high[at])]
    ratios = (problem.inner_ratio[0], problem.inner_ratio[-1])
    if at <= stages:
        if problem.monotone:
            low += list(chosen[:, :at].T)
            high += list(chosen[:, at + 1 : 1 + stages].T)
        if at and not problem.fixed_ratio:
            inner = chosen[:, stages + at]
            low.append(np.ceil(inner / ratios[1] - slack))
            high.append(np.floor(inner / ratios[0] + slack))
    else:
        least, most = inner_bounds(lattice, chosen[:, at - stages] * lattice.multiple)
        low.append(least / lattice.multiple)
        high.append(most / lattice.multiple)
    return np.fmax.reduce(low), np.fmin.reduce(high)
