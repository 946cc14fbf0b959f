"""What an evaluation step gives of every batch, and the sums of that."""

from collections.abc import Iterable, Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from deepmad_jax.train.mesh import to_device
from deepmad_jax.train.preemption import give_up_evaluation_on_sigterm
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
    for sums in over_batches(eval_step, variables, batches, mesh):
        # In float64 on the host: a float32 sum stops counting single images at 2^24.
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + float(value)
    return totals


def over_batches(
    eval_step: EvalStep,
    variables: tuple[PyTree, PyTree],
    batches: Iterable[Mapping[str, np.ndarray]],
    mesh: Mesh,
) -> Iterator[dict[str, np.ndarray]]:
    """What `eval_step` gives of each batch, on the host; arguments as `sum_over_batches` has them.

    The same in every process: what the step gives is of the whole batch.

    Raises:
        EvaluationGivenUp: a run that trains got SIGTERM meanwhile.
    """
    waiting = None
    for batch in batches:
        give_up_evaluation_on_sigterm()
        given = eval_step(*variables, to_device(mesh, batch))
        # One batch behind: the device works on this one while the last one is used and the next
        # one is read, and no more than two lie on the device.
        if waiting is not None:
            yield jax.device_get(waiting)
        waiting = given
    if waiting is not None:
        yield jax.device_get(waiting)
