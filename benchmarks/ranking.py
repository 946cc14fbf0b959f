"""How well a score ranks networks: Kendall's tau, pairs of equal cost, regret; with intervals.

All intervals are 95 %, of a bootstrap over networks from a fixed seed: what another draw of as many
networks from the same space could have given. They say nothing of another space or recipe.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

DRAWS = 400


class Interval(NamedTuple):
    """A statistic of the networks at hand, and its 95 % interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


class Pairs(NamedTuple):
    """Networks of nearly equal cost, two and two: indices, and which has the greater accuracy."""

    first: np.ndarray
    second: np.ndarray
    better: np.ndarray


def tau(score: np.ndarray, accuracy: np.ndarray) -> float:
    """Kendall's tau-b: 1 where the score orders networks as their accuracy does, 0 by chance."""
    return float(kendalltau(score, accuracy).statistic)


def tau_interval(score: np.ndarray, accuracy: np.ndarray, draws: int = DRAWS) -> Interval:
    """Kendall's tau-b with its interval."""
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        drawn = rng.integers(0, len(score), len(score))
        found.append(tau(score[drawn], accuracy[drawn]))
    return _interval(tau(score, accuracy), found)


def tau_gain(
    score: np.ndarray, other: np.ndarray, accuracy: np.ndarray, draws: int = DRAWS
) -> Interval:
    """By how much the first score's tau exceeds the other's, on the same draws."""
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        drawn = rng.integers(0, len(score), len(score))
        found.append(tau(score[drawn], accuracy[drawn]) - tau(other[drawn], accuracy[drawn]))
    return _interval(tau(score, accuracy) - tau(other, accuracy), found)


def equal_cost(costs: np.ndarray, accuracy: np.ndarray, within: float) -> Pairs:
    """Pairs whose costs, shape (networks, kinds), all agree to a factor of 1 + within.

    Pairs of one and the same accuracy are left out.
    """
    logs, most = np.log(costs), np.log1p(within) + 1e-12
    order = np.argsort(logs[:, 0], kind="stable")
    logs, firsts, seconds = logs[order], [], []
    ends = np.searchsorted(logs[:, 0], logs[:, 0] + most, side="right")
    for i, end in enumerate(ends):
        others = np.arange(i + 1, end)
        near = others[(np.abs(logs[others] - logs[i]) <= most).all(1)]
        firsts.append(np.full(len(near), i))
        seconds.append(near)
    first, second = order[np.concatenate(firsts)], order[np.concatenate(seconds)]
    better = np.sign(accuracy[first] - accuracy[second])
    return Pairs(*(part[better != 0] for part in (first, second, better)))


def share_right(score: np.ndarray, pairs: Pairs) -> tuple[float | None, int]:
    """Share of the pairs in which the network of greater score is the better one, and of how many.

    Pairs of equal score are left out.
    """
    right, told = _told(score, pairs)
    return (float(right[told].mean()) if told.any() else None), int(told.sum())


def share_interval(score: np.ndarray, pairs: Pairs, draws: int = DRAWS) -> Interval:
    """The share with its interval: a pair counts as often as both its networks are drawn."""
    return _weighted(lambda weights: _share(score, pairs, weights), len(score), draws)


def gain_interval(
    score: np.ndarray, other: np.ndarray, pairs: Pairs, draws: int = DRAWS
) -> Interval:
    """By how much the first score's share exceeds the other's, on the same draws."""

    def gain(weights: np.ndarray) -> float | None:
        a, b = _share(score, pairs, weights), _share(other, pairs, weights)
        return None if a is None or b is None else a - b

    return _weighted(gain, len(score), draws)


def regret(score: np.ndarray, accuracy: np.ndarray, fits: np.ndarray) -> float:
    """Mean over budgets of how far the chosen network's accuracy is below the best that fits.

    Args:
        score, accuracy: shape (networks,).
        fits: whether a network fits a budget, (budgets, networks); each fits at least one.
    """
    chosen = np.where(fits, score, -np.inf).argmax(1)
    best = np.where(fits, accuracy, -np.inf).max(1)
    return float((best - accuracy[chosen]).mean())


def regret_gain(
    score: np.ndarray, other: np.ndarray, accuracy: np.ndarray, costs: np.ndarray, draws: int = 60
) -> Interval:
    """By how much the first score's regret is below the other's, on the same draws."""

    def gain(drawn: np.ndarray) -> float:
        fits = budgets(costs[drawn])
        a, b = (regret(each[drawn], accuracy[drawn], fits) for each in (score, other))
        return b - a

    rng, size = np.random.default_rng(0), len(score)
    found = [gain(rng.integers(0, size, size)) for _ in range(draws)]
    return _interval(gain(np.arange(size)), found)


def budgets(costs: np.ndarray, steps: int = 24, least: int = 50) -> np.ndarray:
    """Budgets at quantiles of both costs that at least that many networks meet, as ``fits``."""
    ends = np.quantile(costs, np.linspace(0.05, 1.0, steps), axis=0)
    grid = np.stack(np.meshgrid(ends[:, 0], ends[:, 1]), -1).reshape(-1, 2)
    fits = (costs[None] <= grid[:, None]).all(-1)
    return fits[fits.sum(1) >= least]


def _told(score: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Whether each pair is ranked right, and whether the score tells its networks apart."""
    sign = np.sign(score[pairs.first] - score[pairs.second])
    return sign == pairs.better, sign != 0


def _share(score: np.ndarray, pairs: Pairs, weights: np.ndarray) -> float | None:
    right, told = _told(score, pairs)
    of_pairs = weights[pairs.first] * weights[pairs.second] * told
    return float((of_pairs * right).sum() / of_pairs.sum()) if of_pairs.sum() else None


def _weighted(
    statistic: Callable[[np.ndarray], float | None], networks: int, draws: int
) -> Interval:
    rng = np.random.default_rng(0)
    found = [
        statistic(np.bincount(rng.integers(0, networks, networks), minlength=networks))
        for _ in range(draws)
    ]
    return _interval(statistic(np.ones(networks)), [x for x in found if x is not None])


def _interval(value: float | None, found: list[float]) -> Interval:
    if value is None or not found:
        return Interval(value, None, None)
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Interval(*(round(float(x), 3) for x in (value, low, high)))
