"""How the rows of a space are timed: ``config.measure``."""

import dataclasses
from typing import Annotated

from deepmad_jax.fields import Count, Natural, OneOf, Precision, Range, Title, settle

CLOCKS = ("wall", "cpu")

Runs = Annotated[int, Range(20)]
Growth = Annotated[float, Range(1.0, 4.0, above=True)]


@dataclasses.dataclass(frozen=True)
class MeasureConfig:
    """What the jobs ``measure`` and ``verify`` time, and how.

    Attributes:
        batch: images at a time; times are for one of them. 1 for latency, more for throughput.
        dtype: of the computation.
        runs: of each row and network; the median counts.
        fine: channel counts up to this are all the space's multiples.
        growth: from one channel count to the next beyond that.
        networks: random ones of the space, timed whole beside the sum of their rows.
        designs: networks designed by the new table, timed likewise; the factor is taken from these,
            which are like what a limit will be asked of. 0 takes it from the random ones.
        references: published networks, timed whole, to choose a limit by.
        clock: ``wall``, or ``cpu`` for the time that this process's threads spent: on a CPU that
            others use too.
        steady: multiply times by how a yardstick, run before each, compares with its time when the
            table was begun: likewise.
    """

    batch: Count = 1
    dtype: Precision = "float32"
    runs: Runs = 20
    fine: Natural = 64
    growth: Growth = 1.5
    networks: Natural = 10
    designs: Natural = 3
    references: tuple[Title, ...] = ()
    clock: Annotated[str, OneOf(CLOCKS)] = "wall"
    steady: bool = False

    def __post_init__(self) -> None:
        settle(self)
