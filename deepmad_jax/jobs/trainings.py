"""The trainings that a study consists of: each a config as a run alone would have it, and a folder.

Either the networks of ``config.sample``, or the runs that ``config.study.runs`` lists, every one of
them for each of ``config.study.seeds``.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

import ml_collections

from deepmad_jax.arch.reference import resolve
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.config import Config, override, to_config, to_dict
from deepmad_jax.config.load import parse
from deepmad_jax.config.study import StudyConfig
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.jobs.design import drawn
from deepmad_jax.jobs.workdir import finite, settle, write


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a study.

    Attributes:
        folder: its name below the study's workdir.
        run: what it has in common with the trainings of other seeds.
        config: what its folder's ``config.json`` says.
        network: gives what is trained; a design takes its seconds.
    """

    folder: str
    run: str
    config: Config
    network: Callable[[], Architecture]

    def settle_in(self, folder: Path) -> Architecture:
        """Writes down what the folder's run is, with its design if it is one; what is trained."""
        network = dataclasses.replace(self.network(), name=self.config.name)
        settle(self.config, folder, network)
        if "design" in self.config.jobs:
            numbers = _design_of(self.config.design)[1]
            write(folder / "design.json", json.dumps(finite(numbers), indent=1))
        return network


def trainings_of(config: Config) -> list[Training]:
    """All trainings of the study, in the order of their numbers.

    Raises:
        InvalidConfig: a listed run that is no run, or two that would share a folder.
    """
    study = config.study
    runs = [_listed(config, words) for words in study.runs] or _sampled(config)
    seeded = [_with_seed(run, seed) for run in runs for seed in study.seeds] or runs
    folders = [training.folder for training in seeded]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise InvalidConfig(
            f"config.study.runs names two runs called {twice}, which would share a folder: let "
            "them differ, or give one another name (name=NAME among its words)."
        )
    return seeded


def _sampled(config: Config) -> list[Training]:
    """A training for each network of the draw, as ``configs/random_cifar.py:INDEX`` has it."""
    networks = functools.cache(lambda: drawn(config))

    def training(index: int) -> Training:
        own = dataclasses.replace(
            config,
            name=f"{config.name}_{index}",
            jobs=("sample", "train", "evaluate"),
            sample=dataclasses.replace(config.sample, index=index),
            study=StudyConfig(),
            part=type(config.part)(),
        )
        return Training(f"{index:03d}", own.name, own, lambda: networks()[index])

    return [training(index) for index in range(config.sample.count)]


def _listed(config: Config, words: str) -> Training:
    """The run that the words describe: another config's, or this one's with other fields."""
    first, *changes = words.split()
    if "=" in first.rpartition(":")[2]:
        changes = [first, *changes]
        plain = dataclasses.replace(
            config, study=StudyConfig(), part=type(config.part)(), jobs=_jobs_of(config)
        )
        values = ml_collections.ConfigDict(to_dict(plain), type_safe=False)
        own, label = _changed(values, changes, words), _label(changes)
        if own.name == config.name:
            own = dataclasses.replace(own, name=f"{config.name}_{label}")
        else:
            label = own.name
    else:
        flags = [f"--config.{change}" for change in changes]
        own = parse(["study", "--config", first, *flags])[0]
        label = own.name
    return Training(own.name, label, own, lambda: _network_of(own))


def _label(changes: list[str]) -> str:
    """A name of the changes that a folder may have.

    >>> _label(["design.rho=0.1", "design.alpha=1,1,8"])
    'rho0.1_alpha1,1,8'
    """
    pairs = [change.partition("=") for change in changes]
    words = (f"{field.rpartition('.')[2]}{value}" for field, _, value in pairs)
    return re.sub(r"[^\w.,+-]", "-", "_".join(words))


def _changed(values: ml_collections.ConfigDict, changes: list[str], words: str) -> Config:
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals:
            raise InvalidConfig(
                f"config.study.runs has {words!r}, where {change!r} sets no field: write "
                "FIELD=VALUE, or the name of a config file first."
            )
        override(values, field, value)
    return to_config(values)


def _jobs_of(config: Config) -> tuple[str, ...]:
    named = config.architecture is not None
    return ("train", "evaluate") if named else ("design", "train", "evaluate")


def _network_of(config: Config) -> Architecture:
    if config.architecture is not None:
        return resolve(config.architecture)
    if "sample" in config.jobs:
        return drawn(config)[config.sample.index]
    return _design_of(config.design)[0]


@functools.lru_cache(maxsize=64)  # for the seeds of a run, which share it
def _design_of(problem: Problem) -> tuple[Architecture, dict]:
    from deepmad_jax.design.designer import design_network

    design = design_network(problem)
    return design.architecture, design.to_dict()


def _with_seed(training: Training, seed: int) -> Training:
    config = training.config
    own = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    return dataclasses.replace(training, folder=f"{training.folder}_seed{seed}", config=own)
