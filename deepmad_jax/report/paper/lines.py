"""What stands beside a row of the paper: exact counts, and what runs here came to."""

import dataclasses

from deepmad_jax.arch import Architecture
from deepmad_jax.paper import Row


@dataclasses.dataclass(frozen=True)
class Counts:
    """A network's exact numbers.

    Attributes:
        params: trainable numbers.
        macs: multiply-accumulates, or of a backbone FLOPs as mmcv counts.
        rho, entropy_nats: None of a backbone, and where tokens attend.
    """

    params: int
    macs: int
    rho: float | None = None
    entropy_nats: float | None = None


@dataclasses.dataclass(frozen=True)
class Designed:
    """A network designed for a row's budgets.

    Attributes:
        architecture, counts: of it.
        budgets: params, MACs and rho that it had to keep.
        layers: convs of the main path.
        mean_width: geometric mean of their fan-ins.
        cpu_seconds: that the design took, compilation included where it was the first of its form.
    """

    architecture: Architecture
    counts: Counts
    budgets: tuple[float, float, float]
    layers: float
    mean_width: float
    cpu_seconds: float


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of the paper with ours.

    Attributes:
        row: of the paper.
        theirs: the counts of the network that the paper trained; None where it is not published.
        architecture: that network.
        designed: ours; None where the row needs no design.
        values: of runs here, a seed each, as shares; empty where there are none.
        why: the reason, where a workdir was found that does not count.
    """

    row: Row
    theirs: Counts | None = None
    architecture: Architecture | None = None
    designed: Designed | None = None
    values: tuple[float, ...] = ()
    why: str = ""
