"""Programs compiled in half the time where they are large and their work is in small matrices.

XLA's newer emitters for CPUs and its split of a program among compiling threads double the time
that the certificate's program takes to compile, and make it no faster.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax.errors import JaxRuntimeError

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


def jit_soon_ready(function: Callable[P, R]) -> Callable[P, R]:
    """`jax.jit` by `_OPTIONS`, as far as this XLA knows them."""

    @functools.cache
    def jitted() -> Any:
        return jax.jit(function, compiler_options=_options())

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return jitted()(*args, **kwargs)

    return call


@functools.cache
def _options() -> dict[str, Any]:
    """Those options that the compiler takes: they come and go with its versions."""
    taken = {}
    for name, value in _OPTIONS.items():
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value})(0)
        except JaxRuntimeError:
            continue
        taken[name] = value
    return taken
