"""Sums of exponentials as symbols: what a layer's row holds in place of numbers, and as arrays.

`posynomials` builds a program from them.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from deepmad_jax.arch import cost
from deepmad_jax.arch.rows import Row, is_main_path
from deepmad_jax.design.program.layout import Layout

# Terms are padded, so that nearly equal programs share a compilation.
_TERMS = 32


@dataclasses.dataclass(frozen=True)
class Posynomial:
    """A sum of ``coefficient * exp(exponents . y)``: what a row holds when channels are symbols.

    A term's key is its exponents and the symbols that must be above 0 for it to count.

    >>> a, b = Posynomial.symbol(0, size=2), Posynomial.symbol(1, size=2)
    >>> {exponents: c for (exponents, _), c in (2 * a * b + a / b * 3).terms.items()}
    {(1, 1): 2.0, (1, -1): 3.0}
    """

    size: int
    terms: dict[tuple[tuple[int, ...], frozenset[int]], float]

    @staticmethod
    def symbol(*indices: int, size: int) -> "Posynomial":
        """exp of the sum of y over the indices; ``size`` is the length of y."""
        exponents = tuple(indices.count(i) for i in range(size))
        return Posynomial(size, {(exponents, frozenset()): 1.0})

    def positive(self) -> "Posynomial":
        """1 where this is above 0: the condition on its symbols, see `arrays.positive`."""
        if not self.terms:
            return self
        needed: frozenset[int] = frozenset()
        for (exponents, above_zero), _ in self.terms.items():
            needed |= above_zero | {i for i, power in enumerate(exponents) if power}
        return Posynomial(self.size, {((0,) * self.size, needed): 1.0})

    def __add__(self, other: Any) -> "Posynomial":
        if isinstance(other, np.ndarray):
            return NotImplemented  # an array adds and multiplies by its elements
        terms = dict(self.terms)
        for key, coefficient in self._lifted(other).terms.items():
            terms[key] = terms.get(key, 0.0) + coefficient
        return Posynomial(self.size, terms)

    def __mul__(self, other: Any) -> "Posynomial":
        if isinstance(other, np.ndarray):
            return NotImplemented
        product = Posynomial(self.size, {})
        for (e, p), a in self.terms.items():
            for (f, q), b in self._lifted(other).terms.items():
                key = (tuple(i + j for i, j in zip(e, f, strict=True)), p | q)
                product += Posynomial(self.size, {key: a * b})
        return product

    def __truediv__(self, other: Any) -> "Posynomial":
        (((exponents, above_zero), coefficient),) = self._lifted(other).terms.items()
        inverse = (tuple(-e for e in exponents), above_zero)
        return self * Posynomial(self.size, {inverse: 1.0 / coefficient})

    def __pow__(self, power: int) -> "Posynomial":
        (((exponents, above_zero), coefficient),) = self.terms.items()
        key = (tuple(power * e for e in exponents), above_zero)
        return Posynomial(self.size, {key: coefficient**power})

    __radd__, __rmul__ = __add__, __mul__

    def _lifted(self, number: Any) -> "Posynomial":
        if isinstance(number, Posynomial):
            return number
        key = ((0,) * self.size, frozenset[int]())
        return Posynomial(self.size, {key: float(number)} if number else {})


def stacked(costs: list[Posynomial], stages: int) -> tuple[np.ndarray, ...]:
    """Exponents, coefficients, and which terms count only where a width changes or blocks repeat.

    Shapes (J, L + 2 S), (costs, J), (J, S) and (J, S).
    """
    # Where repeats only switch a term, and where the projections do, the power is no part of it.
    logs = Layout(stages).shape_size
    repeats, projections = slice(logs + stages, logs + 2 * stages), slice(logs + 2 * stages, None)
    index: dict[tuple[tuple[int, ...], frozenset[int]], int] = {}
    for posynomial in costs:
        for key in posynomial.terms:
            index.setdefault(key, len(index))
    padded = -(-len(index) // _TERMS) * _TERMS
    coefficients = np.zeros((len(costs), padded))
    powers, needed = (np.zeros((padded, logs + 3 * stages)) for _ in range(2))
    for (exponents, above_zero), t in index.items():
        powers[t] = exponents
        needed[t, list(above_zero)] = 1.0
    for j, posynomial in enumerate(costs):
        for key, coefficient in posynomial.terms.items():
            assert coefficient >= 0, coefficient
            coefficients[j, index[key]] = coefficient
    conditional = np.maximum(powers[:, projections] > 0, needed[:, projections])
    if_repeated = needed[:, repeats] * (powers[:, repeats] == 0)
    return powers[:, : projections.start], coefficients, conditional, if_repeated


def main_path_of(
    rows: Iterable[Row], logs: int, section: str, may_be: bool = False
) -> tuple[int, np.ndarray]:
    """Main-path convs of a section and the sum of their log fan-ins, (logs + 1,).

    Those that stand in every network; with ``may_be``, those that only some have.
    """
    layers, total = 0, np.zeros(logs + 1)
    for row in rows:
        in_some = section == "first" and isinstance(row.repeat, Posynomial)
        if row.section == section and is_main_path(row) and in_some == may_be:
            fan_in = cost.fan_in(row.layer)
            layers += 1
            if isinstance(fan_in, Posynomial):
                (((exponents, _), coefficient),) = fan_in.terms.items()
                total[:-1] += exponents[:logs]
                total[-1] += np.log(coefficient)
            else:
                total[-1] += np.log(fan_in)
    return layers, total


def in_one_table(tables: list[list[Row]]) -> list[Row]:
    """Each row of the stages' tables once, its numbers arrays over the stages, (1, S)."""

    def in_one(values: list[Any]) -> Any:
        return np.array([values], dtype=object)

    merged = []
    for rows in zip(*tables, strict=True):
        layers = [row.layer for row in rows]
        fields = {name: in_one([getattr(layer, name) for layer in layers]) for name in _NUMBERS}
        if all(layer.groups is layer.c_in for layer in layers):
            fields["groups"] = fields["c_in"]  # one and the same where depthwise
        repeat = in_one([row.repeat for row in rows])
        merged.append(Row(rows[0].section, repeat, dataclasses.replace(layers[0], **fields)))
    return merged


_NUMBERS = ("c_in", "c_out", "r_in", "r_out", "kernel", "stride", "groups")
"""Fields of a `Layer` that differ from stage to stage; the others are the same in all."""
