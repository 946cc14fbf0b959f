"""Options of XLA's compiler, as far as the installed one knows them."""

import functools
from typing import Any

import jax
from jax.errors import JaxRuntimeError


@functools.cache
def known_options(options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Those of some options that this XLA's compiler takes: they come and go with its versions."""
    taken = {}
    for name, value in options:
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value})(0)
        except JaxRuntimeError:
            continue
        taken[name] = value
    return taken


ON_CPU = (
    # The compiler drops barriers before it fuses, and then computes across them.
    ("xla_disable_hlo_passes", "cse_barrier_expander"),
    # By half vectors, the default, depthwise convs of DeepMAD-29M take 1.25 times as long.
    ("xla_cpu_prefer_vector_width", 512),
)


def network_options(platform: str) -> dict[str, Any]:
    """The compiler's options for what runs a network on devices of a platform."""
    return known_options(ON_CPU) if platform == "cpu" else {}
