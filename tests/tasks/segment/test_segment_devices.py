import json
from pathlib import Path

import numpy as np
import pytest
from test_segment_job import SIZES

from deepmad_jax.data.scenes import draw_scenes
from launch.local_processes import free_port
from tests.tasks.side_by_side import assert_close, finish, start

WORKER = Path(__file__).parent / "segment_worker.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("devices") / "set"
    draw_scenes(root, {"training": 15, "validation": 6}, sizes=SIZES)
    return root


@pytest.mark.slow
def test_gradients_and_statistics_of_four_devices_are_those_of_one(root, tmp_path):
    # BatchNorm's statistics too: were they of each device's one image, all would differ.
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
    # Every pixel once, whichever process read it.
    alone, together = (
        json.loads((tmp_path / name / "predictions" / "segmentation.json").read_text())
        for name in ("alone", "together")
    )
    assert alone["pixels"] == together["pixels"]
    assert abs(alone["miou"] - together["miou"]) < 0.02
