"""Problems that nobody named, drawn over the whole space of `Problem`.

Each is drawn around a random network of its own space, whose costs, a little enlarged, are the
budgets: so each has a feasible network, and most of its limits bind. All block kinds, one to eight
stages, one to four kernels, ratios fixed and free, rho from 0.05 to 3, budgets over five decades,
weights with zeros, one to four further limits for a third of them, some of which cannot bind.
"""

import csv
import dataclasses
import math
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deepmad_jax.arch import cost, layer_table
from deepmad_jax.arch.stages import PAPER_BLOCKS
from deepmad_jax.design.program.evaluate import Numbers, Point, data_of, evaluate, form_of
from deepmad_jax.design.program.levels import levels_of
from deepmad_jax.design.program.limits import COLUMNS
from deepmad_jax.design.program.problem import EXTRAS, Problem

COUNT, SEED = 300, 11
TIMES = (
    ("conv", 0.012, 0.9, 0.02),
    ("depthwise", 0.015, 4.0, 0.06),
    ("act", 0.004, 0.0, 0.01),
    ("norm", 0.005, 0.0, 0.01),
    ("add", 0.004, 0.0, 0.015),
    ("dense", 0.01, 1.0, 0.0),
)
"""Rows of a made-up latency table (`limits.read_latency`)."""
RHO = (0.05, 3.0)


@cache
def drawn_problems(count: int = COUNT, seed: int = SEED) -> tuple[Problem, ...]:
    """The problems, always the same ones.

    Args:
        count: how many.
        seed: of the draw.
    """
    problems = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        problem = None
        while problem is None:
            problem = _drawn(
                rng, PAPER_BLOCKS[i % len(PAPER_BLOCKS)], 1 + i // len(PAPER_BLOCKS) % 8
            )
        problems.append(problem)
    return tuple(problems)


def _drawn(rng: np.random.Generator, block: str, stages: int) -> Problem | None:
    """A problem around one random network; None where that network is unusual."""
    space = _space(rng, block, stages)
    point = _network(rng, space)
    arch = space.architecture("drawn", point)
    rows = layer_table(arch)
    rho = levels_of(arch)[-1]["rho"]
    macs, params = cost.macs(rows), cost.params(rows)
    if not (RHO[0] <= rho <= RHO[1] and 1e5 <= macs <= 5e10 and 3e3 <= params <= 3e8):
        return None
    room = 1.0 + rng.choice([0.02, 0.1, 0.3]) * rng.random(3)
    budgets = {"macs": round(macs * room[0]), "params": round(params * room[1])}
    left = rng.random()
    if left < 0.3:  # one of the two alone
        budgets["macs" if left < 0.15 else "params"] = math.inf
    if rng.random() < 0.95:
        budgets["rho"] = float(f"{rho * room[2]:.4g}")
    else:  # depth is then held by the penalty alone
        budgets["rho"] = math.inf
    return dataclasses.replace(space, **budgets, **_extras(rng, space, point))


def _space(rng: np.random.Generator, block: str, stages: int) -> Problem:
    mobile = block.startswith("mbconv")
    resolution = int(rng.choice([32, 64, 112, 160, 224, 288, 384]))
    reductions = int(math.log2(resolution)) - 1
    strides = rng.permutation([2] * min(stages, reductions, int(rng.integers(1, stages + 1))))
    strides = rng.permutation([*strides, *[1] * (stages - len(strides))])
    multiple = int(rng.choice([1, 2, 4, 8, 8, 8, 16, 32]))
    ranges = [(0.1, 1.0), (0.25, 1.0), (0.25,), (0.5,), (1.0,)]
    if mobile:
        ranges = [(1.5, 6.0), (1.0, 8.0), (2.0, 4.0), (6.0,), (4.0,), (3.0,)]
    sizes = [(3,), (3, 5), (3, 5), (3, 5, 7), (3, 5, 7, 9), (1, 3), (5,), (3, 7)]
    stem = [(multiple, 8 * multiple), (2 * multiple, 4 * multiple), (4 * multiple,)]
    levels = int((strides == 2).sum()) + 1
    alpha: tuple[float, ...] = ()
    kind = rng.random()
    if kind < 0.2:
        alpha = tuple(float(a) for a in rng.choice([0.0, 1.0, 1.0, 4.0, 8.0], size=levels))
    elif kind < 0.35:
        alpha = (*[0.0] * (levels - 1), 1.0)
    elif kind < 0.5:
        alpha = tuple(round(float(a), 2) for a in rng.uniform(0.1, 10.0, size=levels))
    if alpha and not any(alpha):
        alpha = (*alpha[:-1], 1.0)
    return Problem(
        block=block,
        strides=tuple(int(s) for s in strides),
        stem_stride=int(rng.choice([1, 2])),
        kernels=sizes[rng.integers(len(sizes))],
        inner_ratio=ranges[rng.integers(len(ranges))],
        stem_width=stem[rng.integers(len(stem))],
        min_width=(multiple * int(rng.choice([1, 1, 2])),),
        max_width=(multiple * int(rng.choice([32, 64, 128, 256])),),
        max_depth=(int(rng.choice([4, 8, 16, 30, 60])),),
        multiple_of=multiple,
        final_width=None if rng.random() < 0.6 else int(rng.choice([64, 320, 1280])),
        resolution=resolution,
        classes=int(rng.choice([10, 100, 1000])),
        alpha=alpha,
        beta=float(rng.choice([10.0, 10.0, 10.0, 0.0, 1.0, 30.0])),
        monotone=bool(rng.random() < 0.8),
    )


def _network(rng: np.random.Generator, space: Problem) -> Point:
    """Widths log-uniform in the space, depths around a common one."""
    stages, m = space.num_stages, space.multiple_of
    low, high = space.min_width[0] / m, space.max_width[0] / m
    most = low * (high / low) ** rng.uniform(0.4, 1.0)
    width = np.rint(np.exp(rng.uniform(np.log(low), np.log(most), size=stages)))
    width = m * (np.sort(width) if space.monotone else width)
    stem = m * np.rint(rng.uniform(space.stem_width[0] / m, space.stem_width[-1] / m))
    if space.monotone:
        stem = max(min(stem, width[0]), space.stem_width[0])
        width = np.maximum(width, stem)
    ratio = rng.uniform(space.inner_ratio[0], space.inner_ratio[-1], size=stages)
    inner = width * ratio
    if not space.fixed_ratio:
        least, most_inner = width * space.inner_ratio[0], width * space.inner_ratio[-1]
        inner = np.clip(m * np.rint(inner / m), m * np.ceil(least / m), m * (most_inner // m))
    common = np.exp(rng.uniform(0.0, np.log(space.max_depth[0])))
    depth = np.clip(np.rint(common * np.exp(rng.normal(scale=0.2, size=stages))), 1, None)
    kernel = rng.choice(space.kernels, size=stages)
    return Point(
        np.float64(stem),
        width,
        np.maximum(np.rint(inner), 1.0),
        kernel.astype(float),
        np.minimum(depth, space.max_depth[0]),
    )


def _extras(rng: np.random.Generator, space: Problem, point: Point) -> dict[str, Any]:
    """Further limits for a third of the problems; a fifth of these far above what can bind."""
    chosen = [name for name in EXTRAS if rng.random() < 0.4] if rng.random() < 0.4 else []
    if not chosen:
        return {}
    fields: dict[str, Any] = dict.fromkeys(chosen, 1e30)
    if "latency" in chosen:
        fields["latency_table"] = str(latency_table())
    numbers = numbers_at(dataclasses.replace(space, **fields), point)
    for name, used in zip(chosen, numbers.extra, strict=True):
        room = 1e4 if rng.random() < 0.2 else 1.0 + 0.3 * rng.random()
        fields[name] = float(f"{float(np.max(used)) * room:.6g}") + (name != "latency")
    return fields


def numbers_at(problem: Problem, point: Point) -> Numbers:
    """The program's numbers at one point."""
    return evaluate(form_of(problem), data_of(problem), point)


@cache
def latency_table() -> Path:
    """The made-up latency table, in a file for this process."""
    path = Path(tempfile.mkdtemp()) / "latency.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *TIMES])
    return path
