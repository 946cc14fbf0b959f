"""Mean and spread of the same training under several seeds."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

LEVEL = 0.95
"""Share of such intervals that hold the mean of all seeds, were the values normally distributed."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """What the values of several seeds say.

    Attributes:
        count: of the values.
        mean: of them.
        deviation: standard deviation of a seed (n - 1 below); None of one value.
        half: half of the interval of the mean at `LEVEL`; None of one value.
    """

    count: int
    mean: float
    deviation: float | None
    half: float | None

    def percent(self) -> str:
        """As percentages: ``98.33 ± 0.62 (n = 3)``."""
        half = "" if self.half is None else f" ± {100 * self.half:.2f}"
        return f"{100 * self.mean:.2f}{half} (n = {self.count})"


def spread(values: Sequence[float]) -> Spread:
    """Mean, deviation and Student's interval of at least one value.

    >>> spread([0.97, 0.98, 0.99]).percent()
    '98.00 ± 2.48 (n = 3)'
    >>> spread([0.5]).percent()
    '50.00 (n = 1)'
    """
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Spread(count, mean, None, None)
    from scipy.stats import t  # a second of loading, which a table of single runs does without

    deviation = statistics.stdev(values)
    half = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, half)
