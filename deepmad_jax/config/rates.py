"""The learning rates that the job ``rates`` tries: ``config.rates``."""

import dataclasses

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import Count, Positive, settle


@dataclasses.dataclass(frozen=True)
class RatesConfig:
    """The learning rates that a range test tries, see `tasks.rates`.

    Attributes:
        low, high: the first and the last rate.
        steps: from one to the other, each by the same factor.
    """

    low: Positive = 1e-6
    high: Positive = 10.0
    steps: Count = 100

    def __post_init__(self) -> None:
        settle(self)
        if self.low >= self.high:
            raise InvalidConfig(
                f"low is {self.low:g}, but must be below high={self.high:g}: lower one or raise "
                "the other."
            )
        if self.steps < 2:
            raise InvalidConfig(f"steps is {self.steps}, but a range has two ends: take 2 or more.")
