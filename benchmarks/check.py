"""An architecture's numbers and faults, from its own layer table: what every method is judged by.

Nothing here uses the program that the solvers optimise (`design/program`): counts are whole
numbers from the built architecture's rows, entropy and rho come level by level.
"""

import csv
import functools
import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.arch.rows import Layer, is_main_path
from deepmad_jax.arch.spec import Architecture
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.design.program.problem import Problem


class Checked(NamedTuple):
    """Exact numbers of an architecture under a problem, and what it breaks.

    Attributes:
        objective: weighted entropy - depth penalty, nats.
        params, macs: whole numbers.
        rho: depth over average width.
        faults: a phrase for each broken constraint; empty where the network is feasible.
    """

    objective: float
    params: int
    macs: int
    rho: float
    faults: tuple[str, ...]


def check(problem: Problem, arch: Architecture) -> Checked:
    """The numbers and faults of an architecture, paper convention."""
    rows, levels = layer_table(arch), levels_of(arch)
    params, macs, rho = cost.params(rows), cost.macs(rows), levels[-1]["rho"]
    entropy = sum(a * h["entropy"] for a, h in zip(problem.level_weights, levels, strict=True))
    penalty = math.exp(min(float(np.var([s.depth for s in arch.stages])), 300.0))
    limits = [
        (name, used, getattr(problem, name) * (1 + 1e-12))
        for name, used in _further(problem, arch).items()
    ]
    over = [
        f"{name} {value:,.6g} over {budget:,.6g}"
        for name, value, budget in (
            ("params", params, problem.params),
            ("macs", macs, problem.macs),
            # Sums in another order differ in the last bits.
            ("rho", rho, problem.rho * (1 + 1e-12)),
            *limits,
        )
        if value > budget
    ]
    faults = (*over, *_structural_faults(problem, arch))
    return Checked(entropy - problem.beta * penalty, params, macs, rho, faults)


def _further(problem: Problem, arch: Architecture) -> dict[str, float]:
    """What the network uses of each further limit that is set, summed over its own rows."""
    rows = layer_table(arch)
    widths = [stage.width for stage in arch.stages]
    used = {
        "layers": lambda: sum(row.repeat for row in rows if is_main_path(row)),
        "activations": lambda: max(
            _moved(layer) for layer in (row.layer for row in rows) if layer.kind == "conv"
        ),
        "latency": lambda: sum(row.repeat * _milliseconds(problem, row.layer) for row in rows),
        "width_ratio": lambda: max([b / a for a, b in itertools.pairwise(widths)], default=1.0),
    }
    return {name: float(used[name]()) for name in problem.extras}


def _moved(layer: Layer) -> int:
    return int(layer.c_in * layer.r_in**2 + layer.c_out * layer.r_out**2)


def _milliseconds(problem: Problem, layer: Layer) -> float:
    is_depthwise = layer.kind == "conv" and 1 < layer.groups == layer.c_in
    kind = "depthwise" if is_depthwise else layer.kind
    fixed, per_gmac, per_melement = _times(problem.latency_table).get(kind, (0.0, 0.0, 0.0))
    return fixed + per_gmac * cost.layer_macs(layer) / 1e9 + per_melement * _moved(layer) / 1e6


@functools.cache
def _times(path: str) -> dict[str, tuple[float, ...]]:
    with Path(path).open(newline="") as file:
        _, *lines = csv.reader(file)
    return {kind: tuple(map(float, cells)) for kind, *cells in lines}


def _structural_faults(problem: Problem, arch: Architecture) -> list[str]:
    m, faults = problem.multiple_of, []
    widths = [arch.stem.width, *(stage.width for stage in arch.stages)]
    if problem.monotone and widths != sorted(widths):
        faults.append(f"widths shrink: {widths}")
    if not problem.stem_width[0] <= arch.stem.width <= problem.stem_width[-1]:
        faults.append(f"stem width {arch.stem.width}")
    if any(width % m for width in widths):
        faults.append(f"widths are no multiples of {m}: {widths}")
    for i, stage in enumerate(arch.stages):
        ratio = stage.inner / stage.width
        within = (
            problem.per_stage("min_width")[i] <= stage.width <= problem.per_stage("max_width")[i],
            problem.per_stage("min_depth")[i] <= stage.depth <= problem.per_stage("max_depth")[i],
            problem.inner_ratio[0] - 1e-9 <= ratio <= problem.inner_ratio[-1] + 1e-9,
            stage.kernel in problem.kernels,
            problem.fixed_ratio or stage.inner % m == 0,
        )
        if not all(within):
            faults.append(f"stage {i + 1} lies outside the space: {stage}")
    return faults
