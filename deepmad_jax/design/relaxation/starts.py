"""Where the relaxed solve begins."""

import numpy as np

from deepmad_jax.design.program.evaluate import evaluate
from deepmad_jax.design.program.prepared import Prepared
from deepmad_jax.design.relaxation.variables import to_point


def default_start(prepared: Prepared) -> np.ndarray:
    """The middle of the box in log space, at equal depths: a start that needs no luck."""
    box, parts = prepared.box, prepared.layout
    start = np.array(0.5 * (box.low + box.high))
    start[parts.depth] = np.log(6.0)
    start[parts.stem] = np.log(32.0)
    start[parts.width] = np.linspace(np.log(32.0), np.log(512.0), parts.stages)
    return np.clip(start, box.low, box.high)


def random_starts(prepared: Prepared, count: int) -> np.ndarray:
    """The default start and ``count - 1`` random ones around it, shape (count, 1 + 4 S)."""
    base, depth = default_start(prepared), prepared.layout.depth
    rng = np.random.default_rng(prepared.problem.seed)
    noise = rng.normal(scale=0.5, size=(count, base.size))
    # One factor for all depths: unequal ones start at a penalty that swamps everything.
    noise[:, depth] = noise[:, depth][:, :1]
    noise[0] = 0.0
    return np.clip(base + noise, prepared.box.low, prepared.box.high)


def shrink_to_budgets(prepared: Prepared, x: np.ndarray) -> np.ndarray:
    """The point on the segment from the box's low corner to x that just meets the budgets.

    Starts far outside the budgets would let the penalty terms swamp the objective.
    """
    form, data, corner = prepared.form, prepared.data, prepared.box.low

    def excess(t: float) -> float:
        numbers = evaluate(form, data, to_point(corner + t * (x - corner)), mode="smooth")
        return max(numbers.macs / data.macs, numbers.params / data.params) - 1.0

    low, high = 0.0, 1.0
    if excess(1.0) <= 0:
        return x
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return np.asarray(corner + low * (x - corner))
