"""Programs compiled several times as soon, where compiling them takes longer than running them.

Most of what a large program of small matrices takes to compile goes into LLVM's optimisation,
XLA's newer emitters for CPUs and its split of the program among compiling threads.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax

from deepmad_jax.compiler_options import known_options

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
_LEVEL = "xla_backend_optimization_level"


def jit_soon_ready(
    function: Callable[P, R], *, level: int, static_argnames: Sequence[str] = ()
) -> Callable[P, R]:
    """`jax.jit` by options that compile soon, as far as this XLA knows them.

    What `jax.jit` gives is made at the first call; ``jitted()`` of the result is it.

    Args:
        function: what is compiled.
        level: of LLVM's optimisation, 0 to 3. At 0 the program of a certificate compiles in a fifth
            of the time that it takes at 1, and runs for twice as long.
        static_argnames: as in `jax.jit`.
    """

    @functools.cache
    def jitted() -> Any:
        options = known_options(tuple({**_OPTIONS, _LEVEL: level}.items()))
        return jax.jit(function, static_argnames=static_argnames, compiler_options=options)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return jitted()(*args, **kwargs)

    call.jitted = jitted  # type: ignore[attr-defined]
    return call
