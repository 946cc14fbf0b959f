"""Which of the paper's tables and figures the job ``paper`` makes: ``config.paper``."""

import dataclasses
from typing import Annotated

from deepmad_jax.fields import OneOf, SomePath, settle
from deepmad_jax.paper import PARTS


@dataclasses.dataclass(frozen=True)
class PaperConfig:
    """What the job ``paper`` makes, and where it looks for trainings.

    Attributes:
        parts: tables, figures and ``claims``, of `deepmad_jax.paper.PARTS`; empty: all of them.
        results: a folder of workdirs, in which the runs behind a table are looked for by the names
            that they have by default, such as ``r18_rho0.1``, or with ``_seedN`` after it.
    """

    parts: tuple[Annotated[str, OneOf(PARTS)], ...] = ()
    results: SomePath = "runs"

    def __post_init__(self) -> None:
        settle(self)
