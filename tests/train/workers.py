"""Programs that the fault and the distributed tests start as processes of their own.

    python workers.py WORKDIR [NAME=VALUE ...]

trains `tiny` as a task does, from the newest checkpoint in WORKDIR, and saves the state's arrays to
``WORKDIR/state.npz``. Errors of users end it with status 2, as the command line's do.

``slow=SECONDS`` waits before each step; ``processes=ADDRESS,COUNT,INDEX`` joins others; ``split=1``
splits even small arrays over "fsdp"; any other name is a field of the config.
"""

import ast
import dataclasses
import sys
import time
from pathlib import Path

import jax
import numpy as np
import tiny
from jax.experimental import multihost_utils

import deepmad_jax.train.mesh as mesh_module
from deepmad_jax.errors import UserError
from deepmad_jax.processes import join, leave_if_one_is_lost
from deepmad_jax.train import Checkpoints, Logbook, fit, sum_over_batches, variables_for_evaluation


def main(workdir, *settings):
    values = dict(setting.split("=") for setting in settings)
    slow = float(values.pop("slow", 0))
    if values.pop("split", None):
        mesh_module.MIN_SPLIT_SIZE = 1
    if "processes" in values:
        join(values.pop("processes"))
    fields = {name: ast.literal_eval(value) for name, value in values.items()}
    try:
        train(workdir, dataclasses.replace(tiny.CONFIG, **fields), slow)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except Exception as error:
        leave_if_one_is_lost(error)
        raise
    return 0


def train(workdir, config, slow):
    index, count = jax.process_index(), jax.process_count()
    parts = tiny.make(config)
    batches = tiny.batches(config.batch_size, index, count)

    def slow_step(state, batch):
        time.sleep(slow)
        return parts.train_step(state, batch)

    def evaluate(state):
        images = tiny.evaluation_batches(7 * parts.mesh.size, index, count)
        variables = variables_for_evaluation(state)
        return sum_over_batches(parts.eval_step, variables, images, parts.mesh)

    with Checkpoints(workdir / "checkpoints", config.keep_checkpoints) as checkpoints:
        state = parts.state()
        found = checkpoints.restore(state, batches)
        start = found.step if found else 0
        with Logbook(workdir, resumed_step=start, total_steps=parts.plan.total_steps) as logbook:
            for note in found.notes if found else ():
                logbook.say(note)
            state = fit(
                found.state if found else state,
                batches,
                train_step=slow_step,
                evaluate=evaluate,
                plan=parts.plan,
                mesh=parts.mesh,
                checkpoints=checkpoints,
                logbook=logbook,
                progress=found.progress if found else None,
                best_by="right",
            )
    whole = [leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state)]
    # Of arrays that are split over processes no one holds all.
    state = multihost_utils.process_allgather(state, tiled=True) if count > 1 else state
    if index == 0:
        np.savez(workdir / "state.npz", **tiny.leaves(state))
        np.savez(workdir / "devices.npz", devices=jax.device_count(), whole=whole)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
