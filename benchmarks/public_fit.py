"""Can the paper's weights be bettered? Fit them to one public table, check them on another.

A score is ``a H_last + the other levels' H - beta Q``, and a network with rho above rho0 comes
after all others: the program's own objective and constraint. The paper has a = 8 and beta = 10, and
a rho0 for each kind of network; none of the tables holds designs of this program. The best of the
whole grid (`LAST`, `BETA`, `RHO`) is sought by each of three criteria; what is reported is the gain
over the paper's weights, on the table of the fit and on the others, with its interval on the same
draws of networks.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import ranking
from benchmarks.public_tables import Group, rounded
from deepmad_jax.design.program.entropy import depth_penalty

LAST = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
BETA = (0.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
RHO = (0.2, 0.25, 0.3, 0.35, math.inf)
PAPER = (8.0, 10.0, math.inf)
Weights = tuple[float, float, float]


def score(group: Group, weights: Weights) -> np.ndarray:
    """What each network is worth under the weights (last level, beta, rho0)."""
    last, beta, rho = weights
    values = []
    for net in group.nets.values():
        entropy = sum(net.entropies[:-1]) + last * net.entropies[-1]
        value = entropy - beta * float(depth_penalty(np.array(net.depths, float)))
        # Published networks reach Q of e^190: beyond the bound, yet in the same order.
        values.append(value if net.rho <= rho else value - 1e140)
    return rounded(values)


def criteria(group: Group, within: float) -> dict[str, Callable[[np.ndarray], float]]:
    """Name -> what is to be great: of pairs of equal cost, of all, and of the best in a budget."""
    pairs = ranking.equal_cost(group.costs, group.accuracy, within)
    found: dict[str, Callable[[np.ndarray], float]] = {
        "pairs": lambda s: ranking.share_right(s, pairs)[0] or 0.0,
        "tau": lambda s: ranking.tau(s, group.accuracy),
    }
    if len(group.nets) > 1000:  # of fewer networks too few share a budget
        fits = ranking.budgets(group.costs)
        found["regret"] = lambda s: -ranking.regret(s, group.accuracy, fits)
    return found


def fit(group: Group, within: float) -> dict[str, Weights]:
    """Criterion -> the weights of the grid that are best by it, on all networks of the group."""
    scores = {w: score(group, w) for w in itertools.product(LAST, BETA, RHO)}
    return {
        name: max(scores, key=lambda w: criterion(scores[w]))
        for name, criterion in criteria(group, within).items()
    }


def gains(group: Group, weights: Weights, within: float, paper: Weights = PAPER) -> dict[str, Any]:
    """Gain over the paper's weights in the share of pairs and in tau, with intervals."""
    ours, theirs = score(group, weights), score(group, paper)
    pairs = ranking.equal_cost(group.costs, group.accuracy, within)
    return {
        "table": group.name,
        "networks": len(group.nets),
        "pairs": len(pairs.first),
        "tau": [round(ranking.tau(s, group.accuracy), 3) for s in (theirs, ours)],
        "share": [_digits(ranking.share_right(s, pairs)[0]) for s in (theirs, ours)],
        "gain in tau": ranking.tau_gain(ours, theirs, group.accuracy),
        "gain in share": ranking.gain_interval(ours, theirs, pairs),
    }


def study(source: Group, within: float, others: list[tuple[Group, float]]) -> list[dict[str, Any]]:
    """The fits to one table and what they gain on all.

    The penalty is compared on and off: networks that were not designed under it have depths so
    uneven that it alone orders them.
    """
    found = []
    for criterion, weights in fit(source, within).items():
        for checked, near in [(source, within), *others]:
            row = {
                "fitted to": source.name,
                "by": criterion,
                "weights": list(map(_digits, weights)),
            }
            found.append(row | gains(checked, weights, near))
            if checked is not source:
                alone = (weights[0], 0.0, math.inf)
                row = row | {"weights": list(map(_digits, alone)), "of": "the levels alone"}
                found.append(row | gains(checked, alone, near, (8.0, 0.0, math.inf)))
    return found


def _digits(value: float | None) -> float | str | None:
    if value is None:
        return None
    return "none" if math.isinf(value) else round(value, 3)
