"""The training engine: state, step, loop, optimiser, mesh, checkpoints, logbook.

It knows batches (pytrees of arrays whose first axis is the image) and a loss function; what is in a
batch, and what a network is, only `tasks` knows.
"""

from deepmad_jax.train.checkpoint import Checkpoints
from deepmad_jax.train.evaluation import sum_over_batches
from deepmad_jax.train.logbook import Logbook, record
from deepmad_jax.train.loop import Diverged, fit
from deepmad_jax.train.mesh import (
    check_batch_size,
    make_mesh,
    padded_batch_size,
    replicate,
    to_device,
)
from deepmad_jax.train.optim import make_optimizer, make_schedule
from deepmad_jax.train.plan import Plan
from deepmad_jax.train.state import TrainState, create_state, variables_for_evaluation
from deepmad_jax.train.step import make_eval_step, make_train_step

__all__ = [
    "Checkpoints",
    "Diverged",
    "Logbook",
    "Plan",
    "TrainState",
    "check_batch_size",
    "create_state",
    "fit",
    "make_eval_step",
    "make_mesh",
    "make_optimizer",
    "make_schedule",
    "make_train_step",
    "padded_batch_size",
    "record",
    "replicate",
    "sum_over_batches",
    "to_device",
    "variables_for_evaluation",
]
