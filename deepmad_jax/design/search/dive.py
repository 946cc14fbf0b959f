"""From relaxed widths to whole ones, one width at a time: a beam search over relaxed optima.

Widths are fixed to whole multiples in turn, the coarsest first, where a step weighs most; the rest
of the network then moves to the relaxed optimum around what is fixed (`fixed_choices`), so that the
widths fixed last make up for those before. Of each width the nearest few multiples are tried, and
the choices of greatest value go on.
"""

from collections import Counter

import numpy as np

from deepmad_jax.design.program.lattice import chosen as sizes_at
from deepmad_jax.design.program.lattice import inner_bounds, repair
from deepmad_jax.design.program.prepared import Prepared
from deepmad_jax.design.search.choices import Choices
from deepmad_jax.design.search.fixed_choices import FixedChoices

NEAREST, COARSE_NEAREST = 3, 5  # multiples of a width that are tried
COARSE = 5  # multiples below which a width is coarse
SQUEEZE_STEP = 32  # inner channels from one width of the squeeze to the next
WARM_STEPS = 8  # of the interior point, which begins at the optimum before a width was fixed
ALIKE = 1  # networks of the same depths, kernels and ties in the diverse half of the beam


def dive(prepared: Prepared, fixed: FixedChoices, choices: Choices, beam: int) -> np.ndarray:
    """Lattice coordinates of promising integer networks, best first, (networks, 1 + 4 S).

    Most meet the budgets, some miss them by a little; what a squeeze is rounded by is not in their
    value.

    Args:
        prepared, fixed: the problem.
        choices: where to begin.
        beam: partly whole networks that go on from each width to the next.
    """
    problem, lattice, parts = prepared.problem, prepared.lattice, prepared.layout
    m = problem.multiple_of
    chosen = np.full(choices.y.shape, np.nan)
    chosen[:, parts.kernel] = np.log(sizes_at(lattice.kernels, choices.kernel))
    sizes = choices.y[0, parts.widths if problem.fixed_ratio else parts.channels].copy()
    # A width that others are tied to is fixed before them.
    sizes[parts.widths] = np.maximum.accumulate(sizes[parts.widths])
    for at in np.argsort(sizes, kind="stable"):
        near = _candidates(prepared, choices, chosen, int(at))
        parent, which = np.nonzero(~np.isnan(near))
        if not len(parent):
            break  # what is fixed leaves this width nothing: the search repairs it
        chosen, choices = chosen[parent], choices.taken(parent)
        chosen[:, at] = np.log(near[parent, which] * m)
        tied = choices.tied if choices.tied.any() else None
        values = fixed.solve(choices.depth, choices.y, chosen, tied, WARM_STEPS)
        choices = choices._replace(value=values.value, y=values.y)
        best = _best(choices, beam)
        chosen, choices = chosen[best], choices.taken(best)
    whole = np.rint(np.exp(choices.y[:, parts.channels]) / m)
    u = np.concatenate([whole, choices.kernel, choices.depth], axis=1)
    return np.asarray(repair(lattice, u))


def _candidates(prepared: Prepared, choices: Choices, chosen: np.ndarray, at: int) -> np.ndarray:
    """Distinct multiples to try for one width, NaN for none, (choices, `COARSE_NEAREST`)."""
    m = prepared.problem.multiple_of
    low, high = _range(prepared, np.exp(chosen) / m, at)
    real = np.exp(choices.y[:, at]) / m
    # On a coarse lattice the second nearest below or above may be the best; so where the squeeze is
    # rounded down to eights, as the best inner widths lie just before its steps.
    wide = real[0] < COARSE or _squeeze_period(prepared, at) > NEAREST
    count = COARSE_NEAREST if wide else NEAREST
    near = np.rint(real)[:, None] + np.arange(count) - count // 2
    if (
        1 <= at <= prepared.layout.stages
    ):  # a tied width follows the one before, whatever stands here
        near = np.where(choices.tied[:, at - 1, None], near[:, :1], near)
    near = np.clip(near, low[:, None], high[:, None])
    repeated = np.diff(near, axis=1, prepend=-1.0) == 0
    return np.where(repeated | (low > high)[:, None], np.nan, near)


def _squeeze_period(prepared: Prepared, at: int) -> float:
    """Multiples of a width from one step of its stage's squeeze to the next; 0 without squeeze."""
    problem, parts = prepared.problem, prepared.layout
    inner = np.arange(parts.shape_size)[parts.width if problem.fixed_ratio else parts.inner]
    stage = np.flatnonzero(inner == at)
    if not len(stage) or problem.stage_blocks[int(stage[0])] != "mbconv_se":
        return 0.0
    ratio = problem.inner_ratio[0] if problem.fixed_ratio else 1.0
    return SQUEEZE_STEP / (ratio * problem.multiple_of)


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


def _range(prepared: Prepared, chosen: np.ndarray, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest multiples that one width may be beside those already fixed, (choices,)."""
    problem, lattice, slack = prepared.problem, prepared.lattice, 1e-9
    stages = prepared.layout.stages
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
