"""Sums over all batches of an evaluation."""

from collections.abc import Iterable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from deepmad_jax.train.mesh import to_device
from deepmad_jax.train.state import PyTree
from deepmad_jax.train.step import EvalStep


def sum_over_batches(
    eval_step: EvalStep,
    variables: tuple[PyTree, PyTree],
    batches: Iterable[Mapping[str, np.ndarray]],
    mesh: Mesh,
) -> dict[str, float]:
    """The sums of `eval_step` over ``batches``.

    Args:
        eval_step: of `make_eval_step`.
        variables: params and BatchNorm statistics.
        batches: this process's part of every batch.
        mesh: the one that the step was compiled for.
    """
    totals: dict[str, float] = {}
    waiting = None
    for batch in batches:
        sums = eval_step(*variables, to_device(mesh, batch))
        # One batch behind: the device works on this one while the last one is added up and the
        # next one is read, and no more than two lie on the device.
        _add(totals, waiting)
        waiting = sums
    _add(totals, waiting)
    return totals


def _add(totals: dict[str, float], sums: Mapping[str, jax.Array] | None) -> None:
    # In float64 on the host: a float32 sum stops counting single images at 2^24.
    for name, value in jax.device_get(sums or {}).items():
        totals[name] = totals.get(name, 0.0) + float(value)
