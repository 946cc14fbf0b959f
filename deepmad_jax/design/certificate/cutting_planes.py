"""The prices of least bound over the whole networks of a box, by cutting planes.

At given prices one network reaches the bound of `recursion`. Its own value is a plane in the prices
(convex in that of the variance) and nowhere above the bound, so the lowest point above all planes
met so far is below the least bound. A small linear program gives it; the next network is sought
there.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize

from deepmad_jax.design.certificate.bounds import Multipliers
from deepmad_jax.design.certificate.chain import ChainBox, Network, Prices
from deepmad_jax.design.certificate.recursion import greatest

TURNS = 25
KEPT = 16  # networks whose planes are handed on
_WORTHWHILE = 0.2  # share of what is left to prune that another turn must promise
_LEAST_VARIANCE_PRICE = 1e-3


class Found(NamedTuple):
    """What `least` found.

    Attributes:
        bound: the least, nats.
        prices: that gave it.
        networks: that reached the last bounds, the last one last; they may miss limits.
    """

    bound: float
    prices: Prices
    networks: list[Network]


def least(box: ChainBox, prices: Prices, networks: Sequence[Network], incumbent: float) -> Found:
    """The least bound over prices that a few cutting planes find; no further than it must be.

    Args:
        box: not empty.
        prices: where to begin.
        networks: whose planes to begin with, those that the box holds.
        incumbent: a bound of no more ends the search.
    """
    chain, costs = box.chain, len(prices.budgets)
    scale = max(abs(incumbent), 1.0)
    floor = np.concatenate(
        [
            np.where(chain.limited, 0.02 * scale, 0.0),
            [2e-4 * scale * chain.has_rho, 1.0 * chain.penalised],
            np.full(len(prices.planes), 0.5),
        ]
    )
    low = np.zeros(len(floor))
    low[costs + 1] = _LEAST_VARIANCE_PRICE if chain.penalised else 0.0
    high = np.where(floor > 0, np.inf, 0.0)
    high[costs + 2 :] = 1.0
    best_x = x = np.clip(prices.joined(), low, high)
    size = np.maximum(np.abs(x), floor)
    best, reach, met = np.inf, 1.0, list[Network]()
    heights, slopes = list[float](), list[np.ndarray]()

    def cut(network: Network) -> None:
        value, slope = box.plane(network, Prices.of(x, costs))
        heights.append(value - slope @ x)
        slopes.append(slope)

    for network in networks:
        if box.holds(network):
            cut(network)
            met.append(network)
    for _ in range(TURNS):
        value, network = greatest(box, Prices.of(x, costs))
        met.append(network)
        cut(network)
        if value < best:
            best, best_x = value, x
        if best <= incumbent or not np.isfinite(value):
            break
        near, far = np.maximum(low, best_x - reach * size), np.minimum(high, best_x + reach * size)
        step = scipy.optimize.linprog(
            np.append(np.zeros(len(x)), 1.0),
            A_ub=np.column_stack([np.array(slopes), np.full(len(slopes), -1.0)]) / scale,
            b_ub=-np.array(heights) / scale,
            bounds=[*zip(near, far, strict=True), (None, None)],
            method="highs",
        )
        if not step.success:
            break
        x, promised = np.clip(step.x[:-1], low, high), best - step.x[-1]
        if promised <= _WORTHWHILE * (best - incumbent):
            inside = ((x > near + 1e-9 * size) | (near <= low)).all()
            inside &= ((x < far - 1e-9 * size) | (far >= high)).all()
            if inside:
                break
            reach *= 2.0
    return Found(best, Prices.of(best_x, costs), met[-KEPT:])


def prices_of(by: Multipliers) -> Prices:
    """What a relaxed box was bounded with, as prices to begin from."""
    first, second = np.maximum(by.entropies[:2], 0.0) + 1e-300
    return Prices(
        np.maximum(by.budgets, 0.0),
        max(float(by.rho), 0.0),
        max(float(by.variance), 0.0),
        first / (first + second),
    )
