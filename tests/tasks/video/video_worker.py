"""Run by a test in processes of its own: gradients, or a short training, on what devices it has.

video_worker.py gradients OUT.npz DATA
video_worker.py train WORKDIR DATA [HOST:PORT,COUNT,INDEX]
"""

import sys
from pathlib import Path

import jax
import numpy as np
from test_video_job import ARCH, config_of, loss_and_gradients, with_train

from deepmad_jax.processes import join
from deepmad_jax.tasks import run
from deepmad_jax.tasks.video.task import VIDEO
from deepmad_jax.train import make_mesh


def main():
    what, out, root = sys.argv[1:4]
    if what == "gradients":
        (loss, (stats, metrics)), grads = loss_and_gradients(Path(root), make_mesh())
        flat = jax.tree_util.tree_flatten_with_path((loss, stats, metrics, grads))[0]
        arrays = {jax.tree_util.keystr(path): np.asarray(x) for path, x in flat}
        np.savez(out, __devices__=jax.device_count(), **arrays)
        return
    if len(sys.argv) > 4:
        join(sys.argv[4])
    state = run.train(VIDEO, with_train(config_of(Path(root)), epochs=1.5), ARCH, out)
    if jax.process_index() == 0:
        flat = jax.tree_util.tree_flatten_with_path(jax.device_get(state))[0]
        np.savez(f"{out}/state.npz", **{jax.tree_util.keystr(p): x for p, x in flat})


if __name__ == "__main__":
    main()
