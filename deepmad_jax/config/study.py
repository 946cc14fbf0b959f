"""Which trainings the job ``study`` does: ``config.study``."""

import dataclasses

from deepmad_jax.errors import InvalidConfig
from deepmad_jax.fields import Seed, settle


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The trainings of a study, each of which has a folder of its own.

    Attributes:
        runs: a run each, as words with spaces between: fields of this config that differ
            (``design.rho=0.1``), or another config first (``configs/r18.py:rho0.1``). Empty: the
            networks of ``config.sample``.
        seeds: of the training, for every run; empty: the run's own alone. The design keeps its own.
    """

    runs: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = ()

    def __post_init__(self) -> None:
        settle(self)
        for name in ("runs", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise InvalidConfig(
                    f"{name} is {values}, where one stands twice: each has a folder of its own."
                )
        if any(not run.split() for run in self.runs):
            raise InvalidConfig(f"runs is {self.runs}, of which one is empty: leave it out.")
