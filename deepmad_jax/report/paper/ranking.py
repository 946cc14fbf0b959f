"""Kendall's tau of entropy against accuracy, by group of rho, with bootstrapped intervals."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

DRAWS, LEVEL = 1000, 0.95

GROUPS, LEAST = 4, 8
"""Most groups, and least networks in each: tau of fewer is mostly chance."""

PAPERS_RHO, PAPERS_TAU = 0.5, 0.77
"""Where the paper finds accuracy greatest, and tau around there (section 5.3)."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of the study of random ones, as its figures show it.

    Attributes:
        rho, entropy_nats, layers, mean_width: of it.
        top1: mean over its seeds, a share; None where it was not trained.
        half: half of the interval of that mean; None of one seed.
    """

    rho: float
    entropy_nats: float
    layers: float
    mean_width: float
    top1: float | None = None
    half: float | None = None


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A group of networks of neighbouring rho.

    Attributes:
        low, high: rho of the first and the last one.
        count: of the networks.
        tau: Kendall's tau-b of entropy against accuracy; None where one of them is constant.
        ends: its interval at `LEVEL`, over which networks were drawn; None beside a tau of None.
    """

    low: float
    high: float
    count: int
    tau: float | None
    ends: tuple[float, float] | None


def by_group(networks: Sequence[Network], groups: int) -> list[Ranked]:
    """The trained networks by rising rho, in groups of about equal size, and all of them last.

    Empty where fewer than `LEAST` were trained.
    """
    trained = sorted((n for n in networks if n.top1 is not None), key=lambda n: n.rho)
    if len(trained) < LEAST:
        return []
    parts = np.array_split(np.arange(len(trained)), min(groups, len(trained) // LEAST))
    return [*(_ranked([trained[i] for i in part]) for part in parts), _ranked(trained)]


def _ranked(networks: Sequence[Network]) -> Ranked:
    entropy = np.array([network.entropy_nats for network in networks])
    top1 = np.array([network.top1 for network in networks], float)
    tau = _tau(entropy, top1)
    ends = None
    if tau is not None:
        rng = np.random.default_rng(0)
        drawn = (rng.integers(0, len(top1), len(top1)) for _ in range(DRAWS))
        found = [x for which in drawn if (x := _tau(entropy[which], top1[which])) is not None]
        low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        ends = float(low), float(high)
    return Ranked(networks[0].rho, networks[-1].rho, len(networks), tau, ends)


def _tau(a: np.ndarray, b: np.ndarray) -> float | None:
    """Tau-b, with the ties that a bootstrap makes; None where it is not defined."""
    from scipy.stats import (
        kendalltau,  # a second of loading, which pages without a study do without
    )

    tau = float(kendalltau(a, b, method="asymptotic").statistic)
    return None if math.isnan(tau) else tau
