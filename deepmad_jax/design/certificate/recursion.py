"""The greatest value that whole networks of a box reach at some prices, stage by stage.

Behind each stage stands the best value for each of its widths and for each number of blocks so far;
inner widths and kernels are chosen between two widths. See `chain`.
"""

from typing import NamedTuple

import numpy as np

from deepmad_jax.design.certificate.chain import ChainBox, Network, Prices, Stage, mixed

_ROUNDING = 1e-11  # of the sizes that are summed
_IN_CACHE = 32_768  # numbers


class _Step(NamedTuple):
    """A stage at some prices.

    Attributes:
        best: value before it, (W, blocks).
        steps: what it adds, (n, W, V).
        entering: what an inner width and a kernel add that turns on the width before, (W, I K).
        once, each, repeated: what they add beside a width, (V, I, K).
    """

    best: np.ndarray
    steps: np.ndarray
    entering: np.ndarray
    once: np.ndarray
    each: np.ndarray
    repeated: np.ndarray


def greatest(box: ChainBox, prices: Prices) -> tuple[float, Network]:
    """The bound at some prices, and a network that reaches it."""
    program, chain, ranges = box.chain.program, box.chain, box.ranges
    at, alpha = program.layout, np.asarray(program.alpha)
    rho = prices.rho if chain.has_rho else 0.0
    budgets = np.where(chain.limited, prices.budgets, 0.0)
    by_sum = alpha * mixed(prices.planes, ranges.level_high, ranges.level_low)
    by_level = alpha * mixed(prices.planes, ranges.sum_low, ranges.sum_high)
    corners = mixed(
        prices.planes, ranges.level_high * ranges.sum_low, ranges.level_low * ranges.sum_high
    )
    constant = budgets.sum() - alpha @ corners + (by_sum.sum() + rho) * program.stem
    constant -= (budgets @ chain.terms.coefficients)[list(chain.terms.constant)].sum()
    per_layer = 0.0
    if rho and not chain.uniform:
        layers = program.layers_fixed + program.layers @ box.middle
        per_layer = rho * (program.log_rho - np.log(layers) - 1.0)
        constant += rho * layers + per_layer * program.layers_fixed
    # What turns on single widths: the levels' ends and the final conv.
    ends = by_level @ program.level + (by_sum[-1] + rho) * program.head
    constant += ends[-1]
    value = ends[0] * np.log(box.widths[0])
    for column, power in chain.terms.stem:
        value = value - (budgets @ chain.terms.coefficients[:, column]) * (box.widths[0] ** power)
    by_stage = program.reach.T @ by_sum + rho
    per_square = -prices.variance / at.stages if chain.penalised else 0.0
    best, steps = value[:, None], []
    for i, stage in enumerate(box.stages):
        best, step = _forward(
            box, best, stage, i, budgets, float(by_stage[i]), per_layer, per_square
        )
        best = best + (ends[1 + i] * np.log(box.widths[i + 1]))[:, None]
        steps.append(step)
    blocks = sum(stage.n[0] for stage in box.stages) + np.arange(best.shape[1])
    if chain.penalised:
        v, beta = prices.variance, float(program.beta)
        constant += v * np.log(v / beta) - v
        best = best + v * ((blocks + at.stages) / at.stages) ** 2
    if rho and chain.uniform:
        layers = program.layers_fixed + program.layers[0] * blocks
        best = best + rho * layers * (program.log_rho - np.log(layers))
    end, depth = np.unravel_index(int(best.argmax()), best.shape)
    total = float(best[end, depth] + constant)
    sizes = abs(constant) + abs(total) + budgets.sum() + rho * 1e3 + prices.variance * 1e4
    return total + _ROUNDING * float(sizes), _traced(box, steps, int(end), int(depth))


def _forward(
    box: ChainBox,
    best: np.ndarray,
    stage: Stage,
    i: int,
    budgets: np.ndarray,
    by_sum: float,
    per_layer: float,
    per_square: float,
) -> tuple[np.ndarray, _Step]:
    """The best value behind a stage, (V, blocks), and what it was made of."""
    program, at = box.chain.program, box.chain.program.layout
    before, width = np.log(box.widths[i]), np.log(box.widths[i + 1])
    inner, kernel = np.log(stage.inner), np.log(stage.kernel)
    by = budgets[stage.costs]

    def logs(row: np.ndarray) -> np.ndarray:
        """A sum of log fan-ins without the width before, (V, I, K)."""
        ratio = row[at.inner][i]
        of_width = (row[1 + i] - ratio) * width[:, None, None]
        inside = ratio * inner[:, None] + row[at.kernel][i] * kernel
        return np.asarray(by_sum * (of_width + inside + row[-1]))

    once = logs(program.first[i]) - np.tensordot(by, stage.once, 1)
    once = np.where(stage.allowed[:, :, None], once, -np.inf)
    each = logs(program.rest[i]) - np.tensordot(by, stage.each, 1)
    each = each + per_layer * program.layers[i]
    repeated = np.tensordot(by, stage.repeated, 1)
    entering = -np.tensordot(by, stage.entering, 1)
    pairs = (by_sum * program.first[i][i] * before)[:, None] - np.tensordot(by, stage.pairs, 1)
    if program.merges[i] > 0:
        row = program.merge[i]
        merged = by_sum * (row[i] * before[:, None] + row[1 + i] * width + row[-1])
        pairs = pairs + np.where(stage.differs, merged + per_layer * program.merges[i], 0.0)
    if program.monotone > 0:
        pairs = np.where(before[:, None] <= width + 1e-9, pairs, -np.inf)

    blocks = best.shape[1]
    ahead = np.full((len(width), blocks + len(stage.n) - 1), -np.inf)
    entering = entering.reshape(len(before), -1)
    steps = np.empty((len(stage.n), len(before), len(width)))
    for k, n in enumerate(stage.n):
        of_n = once + n * each - (repeated if n > 0 else 0.0)
        steps[k] = _most_inside(entering, of_n.reshape(len(width), -1))
        steps[k] += pairs + per_square * (n + 1.0) ** 2
        totals = (best[:, None, :] + steps[k][:, :, None]).max(0)
        here = ahead[:, k : k + blocks]
        np.maximum(here, totals, out=here)
    return ahead, _Step(best, steps, entering, once, each, repeated)


def _traced(box: ChainBox, steps: list[_Step], end: int, depth: int) -> Network:
    """The network that ends at a width and a number of blocks."""
    widths, inner, kernel, ns = [], [], [], []
    for i in reversed(range(len(steps))):
        step, stage = steps[i], box.stages[i]
        # Where it came from is where the sum is greatest, once more.
        totals = np.full(step.steps.shape[:2], -np.inf)
        for k in range(len(stage.n)):
            if 0 <= depth - k < step.best.shape[1]:
                totals[k] = step.best[:, depth - k] + step.steps[k, :, end]
        k, before = (int(at) for at in np.unravel_index(totals.argmax(), totals.shape))
        n = stage.n[k]
        of_n = step.once[end] + n * step.each[end]
        of_n = of_n - (step.repeated[end] if n > 0 else 0.0)
        inside = int((step.entering[before] + of_n.ravel()).argmax())
        widths.append(box.widths[i + 1][end])
        inner.append(stage.inner[inside // len(stage.kernel)])
        kernel.append(stage.kernel[inside % len(stage.kernel)])
        ns.append(n)
        end, depth = before, depth - k
    widths.append(box.widths[0][end])
    return Network(*(np.array(part[::-1]) for part in (widths, inner, kernel, ns)))


def _most_inside(entering: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """Greatest sums over inner widths and kernels, (W, V), of (W, I K) and (V, I K)."""
    if not len(entering) or np.ptp(entering, axis=0).max(initial=0.0) == 0.0:
        return np.asarray((entering[:1] + beside).max(-1)[None])
    most = np.empty((len(entering), len(beside)))
    # Few at a time, which stay in the cache.
    count = max(_IN_CACHE // max(beside.size, 1), 1)
    buffer = np.empty((count, *beside.shape))
    for start in range(0, len(entering), count):
        part = entering[start : start + count, None]
        sums = np.add(part, beside, out=buffer[: len(part)])
        sums.max(-1, out=most[start : start + count])
    return most
