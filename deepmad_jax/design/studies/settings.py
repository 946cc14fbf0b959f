"""What a sweep and a draw of samples vary, validated; plain values only."""

import dataclasses
import math

from deepmad_jax.errors import InvalidConfig


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Which budgets a sweep varies; what is left empty stays as ``config.design`` has it.

    Attributes:
        macs, params, rho, resolution: values of the grid; with ``random``, ends of a range.
        random: number of random budgets instead of a grid; 0 for the grid.
        workers: processes; 0 is one for each core.
    """

    macs: tuple[float, ...] = ()
    params: tuple[float, ...] = ()
    rho: tuple[float, ...] = ()
    resolution: tuple[int, ...] = ()
    random: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        if self.random < 0 or self.workers < 0:
            raise InvalidConfig("sweep.random and sweep.workers must not be negative.")
        for name in ("macs", "params", "rho", "resolution"):
            values = getattr(self, name)
            if any(not value > 0 for value in values):
                raise InvalidConfig(f"sweep.{name} is {values}, but must be positive.")
            if self.random and any(value == math.inf for value in values):
                raise InvalidConfig(
                    f"sweep.{name} is {values}, but random budgets are drawn between finite ends; "
                    "leave it empty to keep that of config.design."
                )


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which random architectures of ``config.design``'s space are drawn, and which one is taken.

    Attributes:
        count: architectures of the draw, one in each of as many strata of rho.
        index: the one to take, from 0, by ascending rho.
        rho_low, rho_high: the range of rho.
        least_use: share of its budget that MACs or params (at least one of them) must use.
        max_growth: greatest ratio of a stage's width to the width before it.
    """

    count: int = 65
    index: int = 0
    rho_low: float = 0.1
    rho_high: float = 1.0
    least_use: float = 0.85
    max_growth: float = math.inf

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidConfig(f"sample.count is {self.count}, but must be at least 1.")
        if not 0 <= self.index < self.count:
            raise InvalidConfig(
                f"sample.index is {self.index}, but must be one of 0 to {self.count - 1} "
                "(sample.count networks are drawn)."
            )
