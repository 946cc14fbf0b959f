"""A function mapped over the last axis of its arguments, which stays the last throughout.

``jax.vmap`` moves the mapped axis to the front at every broadcast and concatenation. XLA then runs
its loops on a CPU over the few stages of a network, one number at a time; with the many chains
last, over the chains, several numbers at a time: annealing takes about half of the time so. The
logarithm of float64, which XLA leaves to the C library number by number, is a polynomial here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from deepmad_jax.design.program.arrays import Array

Mapped = tuple[Array, bool]
"""A value, and whether it has the mapped axis, its last."""

# fmt: off
_ELEMENTWISE = frozenset((
    "abs", "add", "and", "ceil", "clamp", "convert_element_type", "copy", "div", "eq", "exp",
    "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p", "lt", "max", "min",
    "mul", "ne", "neg", "not", "or", "pow", "rem", "round", "select_n", "sign", "sqrt", "square",
    "stop_gradient", "sub",
))
# fmt: on
_CALLS = frozenset(("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"))


def over_last(f: Callable[..., Any]) -> Callable[..., Any]:
    """Maps ``f`` over the last axis of every array in its arguments; results have it last too.

    What it has no rule of its own for goes through ``jax.vmap``. Its logarithms are of positive
    numbers.
    """

    def mapped(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        size = leaves[0].shape[-1]
        one = [jnp.zeros(leaf.shape[:-1], leaf.dtype) for leaf in leaves]
        program, shapes = jax.make_jaxpr(
            lambda *values: f(*jax.tree.unflatten(tree, values)), return_shape=True
        )(*one)
        results = _run(program, [(leaf, True) for leaf in leaves], size)
        whole = [x if has else _lifted(x, size) for x, has in results]
        return jax.tree.unflatten(jax.tree.structure(shapes), whole)

    return mapped


def _run(program: Any, args: list[Mapped], size: int) -> list[Mapped]:
    jaxpr, known = program.jaxpr, dict[Any, Mapped]()
    known.update(zip(jaxpr.constvars, ((c, False) for c in program.consts), strict=True))
    known.update(zip(jaxpr.invars, args, strict=True))

    def read(name: Any) -> Mapped:
        return (name.val, False) if hasattr(name, "val") else known[name]

    for step in jaxpr.eqns:
        outputs = _step(step, [read(v) for v in step.invars], size)
        known.update(zip(step.outvars, outputs, strict=True))
    return [read(name) for name in jaxpr.outvars]


def _step(step: Any, inputs: list[Mapped], size: int) -> list[Mapped]:
    name, options = step.primitive.name, step.params
    if name in _CALLS:
        return _run(options.get("jaxpr") or options["call_jaxpr"], inputs, size)
    values = [x for x, _ in inputs]
    if not any(has for _, has in inputs):
        result = step.primitive.bind(*values, **options)
        return [(x, False) for x in (result if step.primitive.multiple_results else [result])]
    x, shape = values[0], step.outvars[0].aval.shape
    if name == "log" and x.dtype == jnp.float64:
        result = log_of_positive(x)
    elif name in _ELEMENTWISE:
        wide = [v if has else jnp.asarray(v)[..., None] for v, has in inputs]
        result = step.primitive.bind(
            *(jnp.broadcast_to(v, (*shape, size)) for v in wide), **options
        )
    elif name == "broadcast_in_dim":
        to = (*options["broadcast_dimensions"], len(shape))
        result = lax.broadcast_in_dim(x, (*shape, size), to)
    elif name == "concatenate":
        wide = [v if has else _lifted(v, size) for v, has in inputs]
        result = lax.concatenate(wide, options["dimension"])
    elif name == "slice":
        strides = options["strides"]
        result = lax.slice(
            x,
            (*options["start_indices"], 0),
            (*options["limit_indices"], size),
            strides and (*strides, 1),
        )
    elif name == "squeeze":
        result = lax.squeeze(x, options["dimensions"])
    elif name == "reshape":
        result = lax.reshape(x, (*shape, size))
    elif name in ("cumsum", "reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or"):
        result = step.primitive.bind(x, **options)
    else:
        axes = [-1 if has else None for _, has in inputs]
        result = jax.vmap(partial(step.primitive.bind, **options), axes, -1)(*values)
    return [(y, True) for y in (result if step.primitive.multiple_results else [result])]


_SQRT_HALF = np.float64(np.sqrt(0.5)).view(np.int64)
_MANTISSA = np.int64(52)


def log_of_positive(x: Array) -> Array:
    """The natural logarithm of positive normal float64, to 3e-16 of it.

    With x = m 2^e and m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m - 1) / (m + 1)).
    """
    bits = lax.bitcast_convert_type(x, jnp.int64)
    exponent = lax.shift_right_arithmetic(bits - _SQRT_HALF, _MANTISSA)
    m = lax.bitcast_convert_type(bits - lax.shift_left(exponent, _MANTISSA), jnp.float64)
    s = (m - 1.0) / (m + 1.0)
    series = jnp.zeros_like(s)
    for k in range(21, 0, -2):
        series = series * s**2 + 1.0 / k
    return 2.0 * s * series + exponent * np.log(2.0)


def _lifted(x: Array, size: int) -> Array:
    x = jnp.asarray(x)
    return jnp.broadcast_to(x[..., None], (*x.shape, size))
