"""The program as arrays that `certificate.bounds` can relax, read off the layer table.

The rows of `arch.layers` are built once with a `Posynomial` in place of every channel count and
kernel size. What comes out of the cost functions is then the list of terms ``a exp(b . y)`` of each
cost, and out of the fan-ins their logs: nothing here knows what a block contains.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from deepmad_jax.arch import cost
from deepmad_jax.arch.layers import head_rows, se_width, stage_rows, stem_rows
from deepmad_jax.arch.rows import Row, is_main_path
from deepmad_jax.design.program.arrays import Array
from deepmad_jax.design.program.lattice import inner_bounds, lattice_of
from deepmad_jax.design.program.layout import Layout
from deepmad_jax.design.program.problem import Problem

# Terms and kernels are padded, so that nearly equal programs share a compilation.
_TERMS, _KERNELS = 32, 4


class Posynomials(NamedTuple):
    """A problem as arrays, float64. S stages, M levels, J terms, L = 1 + 3 S logs.

    Attributes:
        exponents: of each term in (logs, log squeeze, log n), (J, L + 2 S).
        coefficients: of MACs and params, each over its budget, (2, J).
        conditional: 1 where a term counts only if its stage changes the width, (J, S).
        first, rest: log fan-ins of a first and of a repeated block, (S, L + 1), constant last.
        head: those of the final conv, (L + 1,).
        level: log(r_m^2 c_m), (M, L + 1).
        reach: 1 where a stage lies before a level's end, (M, S).
        layers: main-path convs of a repeated block, (S,).
        layers_fixed, stem: convs that every network has; log fan-in of the stem.
        alpha, beta, log_rho: as in the problem; log_rho is 1e9 where rho has no limit.
        limited: whether MACs and params have a limit, (2,).
        monotone: 1.0 or 0.0.
        log_least_inner, squeeze_loss: least log inner; squeeze width >= max(8, inner / 4 - loss).
        multiple, inner_multiple: unit of widths and of inner widths.
        log_kernels: of the sizes a stage may take, (K,).
    """

    exponents: Array
    coefficients: Array
    conditional: Array
    first: Array
    rest: Array
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


@dataclasses.dataclass(frozen=True)
class Posynomial:
    """A sum of ``coefficient * exp(exponents . y)``: what a row holds when channels are symbols.

    >>> a, b = Posynomial.symbol(0, 2), Posynomial.symbol(1, 2)
    >>> (2 * a * b + a / b * 3).terms
    {(1, 1): 2.0, (1, -1): 3.0}
    """

    terms: dict[tuple[int, ...], float]

    @staticmethod
    def symbol(*indices: int) -> "Posynomial":
        """exp of the sum of y over all indices but the last, which is the length of y."""
        *at, size = indices
        return Posynomial({tuple(at.count(i) for i in range(size)): 1.0})

    def __add__(self, other: Any) -> "Posynomial":
        terms = dict(self.terms)
        for exponents, coefficient in _lifted(other, self._size()).terms.items():
            terms[exponents] = terms.get(exponents, 0.0) + coefficient
        return Posynomial(terms)

    def __mul__(self, other: Any) -> "Posynomial":
        product = Posynomial({})
        for e, a in self.terms.items():
            for f, b in _lifted(other, self._size()).terms.items():
                product += Posynomial({tuple(i + j for i, j in zip(e, f, strict=True)): a * b})
        return product

    def __truediv__(self, other: Any) -> "Posynomial":
        ((exponents, coefficient),) = _lifted(other, self._size()).terms.items()
        return self * Posynomial({tuple(-e for e in exponents): 1.0 / coefficient})

    def __pow__(self, power: int) -> "Posynomial":
        ((exponents, coefficient),) = self.terms.items()
        return Posynomial({tuple(power * e for e in exponents): coefficient**power})

    __radd__, __rmul__ = __add__, __mul__

    def _size(self) -> int:
        return len(next(iter(self.terms), ()))


def _lifted(number: Any, size: int) -> Posynomial:
    if isinstance(number, Posynomial):
        return number
    return Posynomial({(0,) * size: float(number)} if number else {})


def posynomials_of(problem: Problem) -> Posynomials:
    """The arrays of a problem, NumPy float64."""
    stages, sizes = problem.num_stages, problem.resolutions
    at = Layout(stages)
    logs, size = at.shape_size, at.shape_size + 2 * stages

    def symbol(*indices: int) -> Posynomial:
        return Posynomial.symbol(*indices, size)

    tables: list[list[Row]] = []
    terms: dict[tuple[tuple[int, ...], int], np.ndarray] = {}
    stem = stem_rows(
        problem.in_channels, symbol(0), 3, problem.stem_stride, problem.resolution, sizes[0]
    )
    head = head_rows(symbol(stages), problem.final_width, problem.classes, sizes[-1])
    for row in stem + head:
        _count(terms, size, row, -1)
    for i in range(stages):
        shape: dict[str, Any] = {
            "c_in": symbol(i),
            "width": symbol(at.width.start + i),
            "inner": symbol(at.width.start + i, at.inner.start + i),
            "kernel": symbol(at.kernel.start + i),
            "depth": 2,  # one repeat; log n is a symbol of its own
            "stride": problem.strides[i],
            "groups": 1,
            "r_in": float(sizes[i]),
            "r_out": float(sizes[i + 1]),
        }
        smooth = stage_rows(problem.block, mode="smooth", **shape)
        if problem.block == "mbconv_se":
            smooth = _with_squeeze(smooth, shape["inner"], symbol(logs + i))
            certain = [1] * len(smooth)
        else:
            certain = [r.repeat for r in stage_rows(problem.block, mode="lower", **shape)]
        tables.append(smooth)
        for row, sure in zip(smooth, certain, strict=True):
            repeat = symbol(logs + stages + i) if row.section == "rest" else 1
            _count(terms, size, row, -1 if sure else i, repeat)
    exponents, coefficients, conditional = _stack(terms, size, stages)
    budgets = np.array([problem.macs, problem.params])
    ends = problem.level_ends
    level = np.zeros((len(ends), logs + 1))
    for m, end in enumerate(ends):
        level[m, end] = 1.0
        level[m, -1] = 2.0 * np.log(sizes[end])
    if problem.final_width is not None:
        level[-1, ends[-1]] = 0.0
        level[-1, -1] += np.log(problem.final_width)
    parts = {s: [_main(table, logs, s) for table in tables] for s in ("first", "rest")}
    head_count, head_sum = _main(head, logs, "final")
    stem_count, stem_sum = _main(stem, logs, "stem")
    loss, least = _lattice_facts(problem)
    values = (
        exponents,
        coefficients / budgets[:, None],
        conditional,
        np.stack([row for _, row in parts["first"]]),
        np.stack([row for _, row in parts["rest"]]),
        head_sum,
        level,
        np.array([[i < end for i in range(stages)] for end in ends]),
        [count for count, _ in parts["rest"]],
        stem_count + head_count + sum(count for count, _ in parts["first"]),
        stem_sum[-1],
        problem.level_weights,
        problem.beta,
        np.log(problem.rho) if np.isfinite(problem.rho) else 1e9,
        np.isfinite(budgets),
        problem.monotone,
        np.log(least),
        loss,
        problem.multiple_of,
        1 if problem.fixed_ratio else problem.multiple_of,
        _log_kernels(problem.kernels),
    )
    return Posynomials(*(np.asarray(value, dtype=np.float64) for value in values))


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


def _count(
    terms: dict[tuple[tuple[int, ...], int], np.ndarray],
    size: int,
    row: Row,
    stage: int,
    repeat: Any = 1,
) -> None:
    """Adds a row's MACs and params; ``stage`` is where it may vanish, or -1."""
    for j, count in enumerate((cost.layer_macs, cost.layer_params)):
        total = count(row.layer) * row.repeat * repeat
        for exponents, coefficient in _lifted(total, size).terms.items():
            terms.setdefault((exponents, stage), np.zeros(2))[j] += coefficient


def _stack(
    terms: dict[tuple[tuple[int, ...], int], np.ndarray], size: int, stages: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    padded = -(-len(terms) // _TERMS) * _TERMS
    exponents, coefficients = np.zeros((padded, size)), np.zeros((2, padded))
    conditional = np.zeros((padded, stages))
    for t, ((powers, stage), pair) in enumerate(terms.items()):
        exponents[t], coefficients[:, t] = powers, pair
        assert (pair >= 0).all()
        if stage >= 0:
            conditional[t, stage] = 1.0
    return exponents, coefficients, conditional


def _main(rows: Iterable[Row], logs: int, section: str) -> tuple[int, np.ndarray]:
    """Main-path convs of a section and the sum of their log fan-ins, (logs + 1,)."""
    layers, total = 0, np.zeros(logs + 1)
    for row in rows:
        if row.section == section and is_main_path(row):
            fan_in = cost.fan_in(row.layer)
            layers += 1
            if isinstance(fan_in, Posynomial):
                ((exponents, coefficient),) = fan_in.terms.items()
                total[:-1] += exponents[:logs]
                total[-1] += np.log(coefficient)
            else:
                total[-1] += np.log(fan_in)
    return layers, total


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


def _log_kernels(kernels: tuple[int, ...]) -> np.ndarray:
    sizes = sorted(set(kernels))
    # Repeats of the last change nothing and let spaces of few kernels share a compilation.
    return np.log(sizes + sizes[-1:] * (_KERNELS - len(sizes)))
