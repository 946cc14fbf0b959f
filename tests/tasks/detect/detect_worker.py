"""Run by a test in processes of its own: gradients, or a short training, on what devices it has.

detect_worker.py gradients OUT.npz DATA HEAD
detect_worker.py train WORKDIR DATA HEAD [HOST:PORT,COUNT,INDEX]
"""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
from test_detect_job import ARCH, CONFIG, config_of, loss_and_gradients

from deepmad_jax.processes import join
from deepmad_jax.tasks import run
from deepmad_jax.tasks.detect.task import DETECT
from deepmad_jax.train import make_mesh


def main():
    what, out, root, head = sys.argv[1:5]
    if what == "gradients":
        (loss, (_, metrics)), grads = loss_and_gradients(Path(root), head, make_mesh())
        flat = jax.tree_util.tree_flatten_with_path((loss, metrics, grads))[0]
        arrays = {jax.tree_util.keystr(path): np.asarray(x) for path, x in flat}
        np.savez(out, __devices__=jax.device_count(), **arrays)
        return
    if len(sys.argv) > 5:
        join(sys.argv[5])
    config = config_of(Path(root), head)
    train = dataclasses.replace(CONFIG.train, epochs=1.5)
    state = run.train(DETECT, dataclasses.replace(config, train=train), ARCH, out)
    if jax.process_index() == 0:
        flat = jax.tree_util.tree_flatten_with_path(jax.device_get(state))[0]
        np.savez(f"{out}/state.npz", **{jax.tree_util.keystr(p): x for p, x in flat})


if __name__ == "__main__":
    main()
