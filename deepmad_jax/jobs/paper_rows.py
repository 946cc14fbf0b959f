"""Rows of the paper's tables with ours: designed, counted, looked up among finished runs."""

import dataclasses
import functools
import time
from pathlib import Path

from deepmad_jax.arch import Architecture, cost, layer_table
from deepmad_jax.arch.backbone_cost import backbone_flops, backbone_params
from deepmad_jax.arch.zoo import zoo
from deepmad_jax.config import Config
from deepmad_jax.config.load import parse
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.jobs.found import Found, find
from deepmad_jax.paper import TABLES, Row
from deepmad_jax.paper.recipe import CONFIGS, PRINTED
from deepmad_jax.report.paper.lines import Counts, Designed, Line


def lines_of(name: str, results: Path) -> list[Line]:
    """The rows of one of Tables 1 to 10.

    Args:
        name: of the table.
        results: holds the workdirs of runs.
    """
    printed = TABLES[name]
    return [_line(row, printed.image_px, results) for row in printed.rows]


def counts_of(architecture: Architecture) -> Counts:
    """A whole network's exact numbers, at its own resolution."""
    from deepmad_jax.design.program.levels import numbers_of

    rows, numbers = layer_table(architecture), numbers_of(architecture)
    return Counts(cost.params(rows), cost.macs(rows), numbers["rho"], numbers["entropy"])


def config_of_run(words: str) -> Config:
    """The config of a run, which a study is given as such words."""
    first, *changes = words.split()
    return parse(["paper", "--config", first, *(f"--config.{change}" for change in changes)])[0]


def searched(results: Path) -> list[tuple[str, Designed]]:
    """What Table 11 shows of ours: DeepMAD-B0, as the paper's, and the dearest of all designs."""
    by_label = {
        line.row.label: line.designed
        for name in TABLES
        for line in lines_of(name, results)
        if line.designed is not None
    }
    dearest = max(by_label, key=lambda label: by_label[label].cpu_seconds)
    labels = dict.fromkeys(("DeepMAD-B0, rho 0.5", dearest))
    return [(label, by_label[label]) for label in labels]


def settings() -> list[tuple[str, object, object, object, object]]:
    """Table 12: words, then what is printed and what our config has, of both data sets."""
    configs = [config_of_run(name) for name in CONFIGS]

    def of(config: Config, field: str) -> object:
        group, name = field.split(".")
        return getattr(getattr(config, group), name)

    return [
        (words, imagenet, of(configs[0], field), cifar, of(configs[1], field))
        for words, field, imagenet, cifar in PRINTED
    ]


@functools.lru_cache(maxsize=256)  # the claims ask for all tables once more
def _line(row: Row, image_px: tuple[int, int] | None, results: Path) -> Line:
    architecture = zoo(row.network) if row.network else None
    theirs = designed = None
    if architecture is not None:
        theirs = _backbone(architecture, image_px) if image_px else counts_of(architecture)
    found = Found()
    if row.run:
        config = config_of_run(row.run)
        found = find(config, results)
        if "design" in config.jobs and config.architecture is None:
            designed = _designed(_without_latency(config.design))
    return Line(row, theirs, architecture, designed, found.values, found.why)


def _backbone(architecture: Architecture, image_px: tuple[int, int]) -> Counts:
    if architecture.stages[-1].block == "swin":  # which has a norm on each of its maps there
        architecture = dataclasses.replace(architecture, stage_norms=True)
    return Counts(backbone_params(architecture), backbone_flops(architecture, *image_px))


def _without_latency(problem: Problem) -> Problem:
    """The problem by params and MACs alone, where the device's table of latencies is not there."""
    if problem.latency_table and not Path(problem.latency_table).exists():
        return problem.untimed
    return problem


@functools.lru_cache(maxsize=64)  # R18 at rho 0.3 stands in three tables
def _designed(problem: Problem) -> Designed:
    from deepmad_jax.design.designer import design_network
    from deepmad_jax.design.program.levels import levels_of

    began = time.process_time()
    architecture = design_network(problem).architecture
    seconds = time.process_time() - began
    last = levels_of(architecture)[-1]
    return Designed(
        architecture,
        counts_of(architecture),
        (problem.params, problem.macs, problem.rho),
        last["layers"],
        last["layers"] / last["rho"],  # rho is the one over the other
        seconds,
    )
