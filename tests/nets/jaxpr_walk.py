"""MACs of a function, counted from its jaxpr: knows nothing of architectures or blocks.

Not XLA's cost analysis, which leaves out the taps that fall on padding.
"""

import math
from collections.abc import Iterator


def count_macs(jaxpr) -> int:
    """Multiply-accumulates of every conv and matrix product, loops multiplied out."""
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        assert name not in ("while", "cond"), f"cannot tell how often {name} runs its body"
        times = equation.params["length"] if name == "scan" else 1
        total += _equation_macs(equation) + times * sum(map(count_macs, _inner(equation)))
    return total


def count_equations(jaxpr, name: str) -> int:
    """How often a primitive is written in the program, whatever loops do with it."""
    return sum(
        (equation.primitive.name == name)
        + sum(count_equations(inner, name) for inner in _inner(equation))
        for equation in jaxpr.eqns
    )


def stacked_elements(jaxpr) -> int:
    """Numbers that the forward scans hand out, step by step: what the backward ones will read."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan" and not equation.params["reverse"]:
            carried = equation.params["num_carry"]
            total += sum(out.aval.size for out in equation.outvars[carried:])
        total += sum(map(stacked_elements, _inner(equation)))
    return total


def _equation_macs(equation) -> int:
    if equation.primitive.name == "conv_general_dilated":
        assert equation.params["batch_group_count"] == 1
        out, kernel = equation.outvars[0].aval, equation.invars[1].aval
        _, c_in, *spatial = equation.params["dimension_numbers"].rhs_spec
        return out.size * math.prod(kernel.shape[axis] for axis in (c_in, *spatial))
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
    return 0


def _inner(equation) -> Iterator:
    """The jaxprs an equation holds: of scan, jit, custom_jvp and the like."""
    for value in equation.params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if hasattr(item, "eqns"):
                yield item
            elif hasattr(item, "jaxpr"):
                yield item.jaxpr
