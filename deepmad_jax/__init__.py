"""Design convolutional networks to a budget and train them, in JAX.

As a library, without configs or flags:

    import deepmad_jax as dm

    design = dm.design(macs=1.82e9, params=11.69e6, rho=0.3)
    net = design.build()                      # a Flax NNX module; dm.load, dm.build, dm.export too

The command line is ``python -m deepmad_jax.main --config configs/r18.py``. Importing this package
loads nothing heavy: the parts are imported where they are used.
"""

import importlib
import types
from typing import Any

from deepmad_jax import design

__version__ = "0.1.0"

_HOME = {
    "build": "deepmad_jax.library",
    "export": "deepmad_jax.library",
    "load": "deepmad_jax.library",
    "zoo": "deepmad_jax.library",
}
"""What this package offers by name -> the module it is imported from, on first use."""

__all__ = ["build", "design", "export", "load", "zoo"]


class _CallablePackage(types.ModuleType):
    """The subpackage `deepmad_jax.design`, which is also the function of that name.

    A function would be lost: importing the subpackage sets the attribute ``design`` of this one.
    """

    def __call__(self, **fields: Any) -> Any:
        """`library.design`."""
        # By name, so that mypy does not follow it from the typed packages into Flax.
        return importlib.import_module("deepmad_jax.library").design(**fields)


design.__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
