"""Random points of a relaxation's box, for methods that need many starts."""

import numpy as np

from deepmad_jax.design.program.prepared import Prepared
from deepmad_jax.design.relaxation.solve import default_start


def random_starts(prepared: Prepared, count: int) -> np.ndarray:
    """The solver's own start and ``count - 1`` random ones around it, shape (count, 1 + 4 S)."""
    base, depth = default_start(prepared), prepared.layout.depth
    rng = np.random.default_rng(prepared.problem.seed)
    noise = rng.normal(scale=0.5, size=(count, base.size))
    # One factor for all depths: unequal ones start at a penalty that swamps everything.
    noise[:, depth] = noise[:, depth][:, :1]
    noise[0] = 0.0
    return np.clip(base + noise, prepared.box.low, prepared.box.high)
