"""How an architecture is designed. Imports neither flax, optax nor tensorflow.

Public names load on first use, so that reading a config does not start JAX.
"""

import importlib
from typing import Any

_HOME = {
    "Problem": "program.problem",
    "Design": "search.projection",
    "design_network": "designer",
    "solve_relaxed": "relaxation.solve",
    "elasticities": "relaxation.sensitivity",
    "sample_architectures": "studies.sample",
    "MlpProblem": "perceptron.problem",
    "design_mlp": "perceptron.design",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
