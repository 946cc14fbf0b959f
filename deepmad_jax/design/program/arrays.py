"""Arrays of NumPy or JAX: one text serves the traced solver and the integer search."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any  # numpy.ndarray or jax.Array


def positive(x: Array) -> Array:
    """1 where x > 0, else 0; of symbols (`posynomials.Posynomial`) as of numbers."""
    if isinstance(x, np.ndarray) and x.dtype == object:
        return np.frompyfunc(positive, 1, 1)(x)
    return x.positive() if hasattr(x, "positive") else (x > 0) * 1


def namespace(*arrays: Array) -> ModuleType:
    """jax.numpy where any of the arrays is traced or on a device, NumPy otherwise."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np
