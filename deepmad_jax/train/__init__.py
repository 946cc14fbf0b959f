"""The training engine: state, step, loop, optimiser, mesh, checkpoints, logbook.

It knows batches (pytrees of arrays whose first axis is the image) and a loss function; what is in a
batch, and what a network is, only `tasks` knows.
"""

from deepmad_jax.train.checkpoint import CheckpointFailed, Checkpoints, Restored
from deepmad_jax.train.evaluation import over_batches, sum_over_batches
from deepmad_jax.train.few import FirstBatches
from deepmad_jax.train.logbook import Logbook, record
from deepmad_jax.train.look import Look, make_pictures, make_statistics
from deepmad_jax.train.loop import fit
from deepmad_jax.train.mesh import (
    check_batch_size,
    make_mesh,
    padded_batch_size,
    place,
    state_sharding,
    to_device,
)
from deepmad_jax.train.optim import make_optimizer, make_schedule
from deepmad_jax.train.plan import Plan
from deepmad_jax.train.restarts import count_start
from deepmad_jax.train.speed import Speed
from deepmad_jax.train.state import (
    TrainState,
    as_run,
    create_state,
    variables_for_evaluation,
)
from deepmad_jax.train.step import make_eval_step, make_train_step
from deepmad_jax.train.window import Diverged

__all__ = [
    "CheckpointFailed",
    "Checkpoints",
    "Diverged",
    "FirstBatches",
    "Logbook",
    "Look",
    "Plan",
    "Restored",
    "Speed",
    "TrainState",
    "as_run",
    "check_batch_size",
    "count_start",
    "create_state",
    "fit",
    "make_eval_step",
    "make_mesh",
    "make_optimizer",
    "make_pictures",
    "make_schedule",
    "make_statistics",
    "make_train_step",
    "over_batches",
    "padded_batch_size",
    "place",
    "record",
    "state_sharding",
    "sum_over_batches",
    "to_device",
    "variables_for_evaluation",
]
