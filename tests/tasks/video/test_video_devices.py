from pathlib import Path

import numpy as np
import pytest
from test_video_job import found_in

from deepmad_jax.data.motion import draw_motion
from launch.local_processes import free_port
from tests.tasks.side_by_side import assert_close, finish, start

WORKER = Path(__file__).parent / "video_worker.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("devices") / "set"
    draw_motion(root, {"train": 15, "val": 6})
    return root


@pytest.mark.slow
def test_gradients_and_statistics_of_four_devices_are_those_of_one(root, tmp_path):
    # Dropout's draws too, which are each clip's own.
    for devices in (1, 4):
        out = tmp_path / f"{devices}.npz"
        finish(start(WORKER, ["gradients", out, root], devices))
        with np.load(out) as file:
            assert file["__devices__"] == devices
    # Sums over images in another order.
    assert_close(tmp_path / "4.npz", tmp_path / "1.npz", rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_training_of_two_processes_is_that_of_one(root, tmp_path):
    finish(start(WORKER, ["train", tmp_path / "alone", root]))
    address = f"127.0.0.1:{free_port()}"
    finish(
        *(
            start(WORKER, ["train", tmp_path / "together", root, f"{address},2,{i}"])
            for i in range(2)
        )
    )
    assert_close(tmp_path / "together" / "state.npz", tmp_path / "alone" / "state.npz", 1e-3, 1e-4)
    # Every video once, whichever process read it.
    alone, together = (found_in(tmp_path / name) for name in ("alone", "together"))
    assert [row["video"] for row in alone] == [row["video"] for row in together]
    for ours, other in zip(together, alone, strict=True):
        assert float(ours["probability"]) == pytest.approx(float(other["probability"]), abs=1e-3)
