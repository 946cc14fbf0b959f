"""What a sweep and a draw of samples vary, validated; plain values only."""

import dataclasses
import math
from typing import Annotated

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import AtLeastOne, Count, Limit, Natural, Pixels, Positive, Range, settle


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Which budgets a sweep varies; what is left empty stays as ``config.design`` has it.

    Attributes:
        macs, params, rho, resolution: values of the grid; with ``random``, ends of a range.
        random: number of random budgets instead of a grid; 0 for the grid.
        workers: processes; 0 is one for each core.
    """

    macs: tuple[Limit, ...] = ()
    params: tuple[Limit, ...] = ()
    rho: tuple[Limit, ...] = ()
    resolution: tuple[Pixels, ...] = ()
    random: Natural = 0
    workers: Natural = 0

    def __post_init__(self) -> None:
        settle(self)
        for name in ("macs", "params", "rho"):
            values = getattr(self, name)
            if self.random and math.inf in values:
                raise InvalidConfig(
                    f"{name} is {values}, but random budgets are drawn between finite ends; leave "
                    "it empty to keep that of config.design."
                )


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which random architectures of ``config.design``'s space are drawn, and which one is taken.

    Attributes:
        count: architectures of the draw, one in each of as many strata of rho.
        index: the one to take, from 0, by ascending rho.
        rho_low, rho_high: the range of rho.
        least_use: share of its budget that MACs or params (at least one of them) must use.
        max_growth: greatest ratio of a stage's width to the width before it; inf for no limit.
    """

    count: Count = 65
    index: Natural = 0
    rho_low: Positive = 0.1
    rho_high: Positive = 1.0
    least_use: Annotated[float, Range(0, 1, above=True, below=True)] = 0.85
    max_growth: AtLeastOne = math.inf

    def __post_init__(self) -> None:
        settle(self)
        if self.index >= self.count:
            raise InvalidConfig(
                f"index is {self.index}, but must be one of 0 to {self.count - 1}: count networks "
                "are drawn."
            )
        if self.rho_low >= self.rho_high:
            raise InvalidConfig(
                f"rho_low is {self.rho_low}, but must be less than rho_high, {self.rho_high}."
            )
