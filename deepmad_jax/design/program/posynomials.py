"""The program as arrays that `certificate.bounds` can relax, read off the layer table.

The rows of `arch.layers` are built once with a `Posynomial` in place of every channel count and
kernel size. What comes out of the cost functions is then the list of terms ``a exp(b . y)`` of each
cost, and out of the fan-ins their logs: nothing here knows what a block contains.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from deepmad_jax.arch import cost
from deepmad_jax.arch.layers import extent, head_rows, se_width, stage_rows, stem_rows
from deepmad_jax.arch.rows import Oblong, Row, pixels_of, sides_of
from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.box import box_of
from deepmad_jax.design.program.latency_grid import Grid
from deepmad_jax.design.program.lattice import inner_bounds, lattice_of
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.limits import Sections, measure, read_latency
from deepmad_jax.design.program.problem import Problem
from deepmad_jax.design.program.symbols import Posynomial, in_one_table, main_path_of, stacked

# Costs are padded to a multiple of the second number where they are more than the first.
_FEW, _COSTS = 4, 8


class Posynomials(NamedTuple):
    """A problem as arrays, float64. S stages, M levels, J terms, C costs, L = 1 + 3 S logs.

    Attributes:
        exponents: of each term in (logs, log squeeze, log n), (J, L + 2 S).
        coefficients: of each cost over its limit, (C, J): MACs, params, then whatever else a limit
            is set on and may exceed it.
        conditional: 1 where a term counts only if its stage changes the width, (J, S).
        if_repeated: 1 where a term counts once, if its stage has more than one block, (J, S).
        first, rest: log fan-ins of a first and of a repeated block, (S, L + 1), constant last.
        merge: those of what a first block has only where it changes the width, same shape.
        merges: how many layers these are, (S,).
        head: those of the final conv, (L + 1,).
        level: log(r_m^2 c_m), of clips log(t_m r_m^2 c_m), (M, L + 1).
        reach: 1 where a stage lies before a level's end, (M, S).
        layers: main-path convs of a repeated block, (S,).
        layers_fixed, stem: convs that every network has; log fan-in of the stem.
        alpha, beta, log_rho: as in the problem; log_rho is 1e9 where rho has no limit.
        limited: whether each cost has a limit, (C,).
        monotone: 1.0 or 0.0.
        log_least_inner, squeeze_loss: least log inner; squeeze width >= max(8, inner / 4 - loss).
        multiple, inner_multiple: unit of widths and of inner widths.
        log_kernels: of what a stage may choose, see `Lattice.kernels`, (S, K).
    """

    exponents: Array
    coefficients: Array
    conditional: Array
    if_repeated: Array
    first: Array
    rest: Array
    merge: Array
    merges: Array
    head: Array
    level: Array
    reach: Array
    layers: Array
    layers_fixed: Array
    stem: Array
    alpha: Array
    beta: Array
    log_rho: Array
    limited: Array
    monotone: Array
    log_least_inner: Array
    squeeze_loss: Array
    multiple: Array
    inner_multiple: Array
    log_kernels: Array

    @property
    def layout(self) -> Layout:
        return Layout(self.layers.shape[0])

    @property
    def powers(self) -> Array:
        """Exponents of the logs and of the squeezes, (J, L + S)."""
        return self.exponents[:, : -self.layout.stages]

    @property
    def squeezes(self) -> Array:
        """Exponents of the squeezes alone, (J, S)."""
        return self.exponents[:, self.layout.shape_size : -self.layout.stages]

    @property
    def repeats(self) -> Array:
        """1 where a term counts for each repeated block of a stage, (J, S)."""
        return self.exponents[:, -self.layout.stages :]


def posynomials_of(problem: Problem, bound: bool = False) -> Posynomials:
    """The arrays of a problem, NumPy float64; with ``bound`` no cost exceeds a network's own.

    They differ where latency is by a measured grid, which is no sum of products.
    """
    stages, sizes = problem.num_stages, problem.resolutions
    at = Layout(stages)
    logs = at.shape_size
    symbol = functools.partial(Posynomial.symbol, size=logs + 3 * stages)
    stem = stem_rows(
        problem.in_channels,
        symbol(0),
        extent(problem.stem.kernel, problem.stem.kernel_t, problem.is_of_clips),
        problem.stem.stride,
        problem.image,
        sizes[0],
        problem.stem.kind,
        positions=problem.positions,
    )
    head = head_rows(
        symbol(stages),
        problem.final_width,
        problem.classes,
        sizes[-1],
        norm=problem.head_norm,
    )
    blocks = problem.stage_blocks
    tables = [_stage_table(problem, i, block) for i, block in enumerate(blocks)]
    together = []
    for kind in dict.fromkeys(blocks):
        together += in_one_table(
            [
                tables[i] if kind == block else _absent(_stage_table(problem, i, kind))
                for i, block in enumerate(blocks)
            ]
        )
    costs = _costs(problem, Sections(stem, together, head), bound)
    exponents, coefficients, conditional, if_repeated = stacked([c for c, _ in costs], stages)
    limits = np.array([limit for _, limit in costs])
    ends = problem.level_ends
    level = np.zeros((len(ends), logs + 1))
    for m, end in enumerate(ends):
        level[m, end] = 1.0
        level[m, -1] = sum(np.log(side) for side in sides_of(sizes[end]))
    if problem.final_width is not None:
        level[-1, ends[-1]] = 0.0
        level[-1, -1] += np.log(problem.final_width)
    parts = {s: [main_path_of(table, logs, s) for table in tables] for s in ("first", "rest")}
    merge = [main_path_of(table, logs, "first", may_be=True) for table in tables]
    head_count, head_sum = main_path_of(head, logs, "final")
    stem_count, stem_sum = main_path_of(stem, logs, "stem")
    loss, least = _lattice_facts(problem)
    values = (
        exponents,
        coefficients / limits[:, None],
        conditional,
        if_repeated,
        np.stack([row for _, row in parts["first"]]),
        np.stack([row for _, row in parts["rest"]]),
        np.stack([row for _, row in merge]),
        [count for count, _ in merge],
        head_sum,
        level,
        np.array([[i < end for i in range(stages)] for end in ends]),
        [count for count, _ in parts["rest"]],
        stem_count + head_count + sum(count for count, _ in parts["first"]),
        stem_sum[-1],
        problem.level_weights,
        problem.beta,
        np.log(problem.rho) if np.isfinite(problem.rho) else 1e9,
        np.isfinite(limits),
        problem.monotone,
        np.log(least),
        loss,
        problem.multiple_of,
        1 if problem.fixed_ratio else problem.multiple_of,
        np.log(lattice_of(problem).kernels),
    )
    return Posynomials(*(np.asarray(value, dtype=np.float64) for value in values))


def _as_float(pixels: Any) -> Any:
    return pixels_of(*map(float, sides_of(pixels)))  # type: ignore[arg-type]


def _absent(table: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, repeat=row.repeat * 0) for row in table]


def _stage_table(problem: Problem, i: int, block: str) -> list[Row]:
    """The rows of stage i in symbols: logs, then squeezes, repeats and what may be there."""
    stages, sizes = problem.num_stages, problem.resolutions
    at = Layout(stages)
    logs = at.shape_size
    symbol = functools.partial(Posynomial.symbol, size=logs + 3 * stages)
    kernel = symbol(at.kernel.start + i)
    shape: dict[str, Any] = {
        "c_in": symbol(i),
        "width": symbol(at.width.start + i),
        "inner": symbol(at.width.start + i, at.inner.start + i),
        "kernel": Oblong(kernel, 1) if problem.is_of_clips else kernel,  # as `evaluate` has it
        "depth": 2,  # one repeat; the number of them is a symbol of its own
        "stride": problem.halvings[i],
        "groups": 1,
        "r_in": _as_float(sizes[i]),
        "r_out": _as_float(sizes[i + 1]),
        "heads": kernel,
        "head_width": problem.head_width,
    }
    rows = stage_rows(block, mode="smooth", **shape)
    if block == "mbconv_se":
        rows = _with_squeeze(rows, shape["inner"], symbol(logs + i))
        certain = [1] * len(rows)
    else:
        certain = [row.repeat for row in stage_rows(block, mode="lower", **shape)]
    repeats, may_be = symbol(logs + stages + i), symbol(logs + 2 * stages + i)
    return [
        dataclasses.replace(
            row,
            repeat=row.repeat * (repeats if row.section == "rest" else 1) * (1 if sure else may_be),
        )
        for row, sure in zip(rows, certain, strict=True)
    ]


def _costs(problem: Problem, rows: Sections, bound: bool) -> list[tuple[Posynomial, float]]:
    """What is limited, in symbols, and the limit: MACs and params, then what may exceed another."""
    costs = []
    for count, limit in ((cost.macs, problem.macs), (cost.params, problem.params)):
        of_stages = count(rows.stages).sum(-1)[0]
        costs.append((of_stages + count(rows.stem) + count(rows.head), limit))
    stages = problem.num_stages
    symbol = functools.partial(Posynomial.symbol, size=Layout(stages).shape_size + 3 * stages)
    width = np.array([[symbol(1 + i) for i in range(stages)]], dtype=object)
    table, seen = read_latency(problem.latency_table), []
    if bound and isinstance(table, Grid):
        table = table._replace(near=table.below)
    for name in problem.extras:
        limit = getattr(problem, name)
        for measured in measure(name, rows, width, table)[0]:
            most = _most(problem, measured)
            if most > limit * (1.0 - 1e-9) and measured.terms not in seen:
                seen.append(measured.terms)
                costs.append((measured, limit))
    # Few numbers of costs, so that nearly equal programs share a compilation.
    while len(costs) > _FEW and len(costs) % _COSTS:
        costs.append((Posynomial(costs[0][0].size, {}), np.inf))
    return costs


def _most(problem: Problem, measured: Posynomial) -> float:
    """At least the greatest value over the space."""
    box, at = box_of(problem), Layout(problem.num_stages)
    repeats = np.exp(box.high[at.depth]) - 1.0
    squeezes = np.log(np.maximum(np.exp(box.high[at.width] + box.high[at.inner]) / 4.0, 8.0))
    nothing = np.zeros(at.stages)
    with np.errstate(divide="ignore"):
        ends = [
            np.concatenate([box.low[at.shape], nothing, nothing, nothing]),
            np.concatenate([box.high[at.shape], squeezes, np.log(repeats), nothing]),
        ]
    total = 0.0
    for (exponents, _), coefficient in measured.terms.items():
        powers = np.array(exponents)
        used = powers != 0
        total += coefficient * np.exp(np.maximum(*(powers * end for end in ends))[used].sum())
    return total


def _with_squeeze(rows: Iterable[Row], inner: Posynomial, squeezed: Posynomial) -> list[Row]:
    """The rows with the smooth squeeze width replaced by a symbol of its own."""
    smooth = se_width(inner, "smooth")

    def swap(channels: Any) -> Any:
        return squeezed if channels == smooth else channels

    return [
        dataclasses.replace(
            row,
            layer=dataclasses.replace(
                row.layer, c_in=swap(row.layer.c_in), c_out=swap(row.layer.c_out)
            ),
        )
        if row.layer.branch == "se"
        else row
        for row in rows
    ]


def _lattice_facts(problem: Problem) -> tuple[float, float]:
    """The most that the squeeze width falls short of inner / 4, and the least inner width."""
    lattice = lattice_of(problem)
    width = Layout(problem.num_stages).width
    widths = np.arange(lattice.low[width].min(), lattice.high[width].max() + 1)
    least, most = inner_bounds(lattice, widths * lattice.multiple)
    if problem.fixed_ratio:
        inner = least[least <= most]
    else:
        inner = np.arange(1, max(most.max() // lattice.multiple, 1) + 1) * lattice.multiple
    inner = inner[inner >= 1]
    short = inner / 4.0 - se_width(inner)
    return float(max(short.max(initial=0.0), 0.0)), float(
        inner.min(initial=np.inf) if inner.size else 1.0
    )
