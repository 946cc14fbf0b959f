from pathlib import Path

import numpy as np
import pytest
from test_detect_job import lines_of

from deepmad_jax.data.shapes import draw_shapes
from launch.local_processes import free_port
from tests.tasks.side_by_side import assert_close, finish, start

WORKER = Path(__file__).parent / "detect_worker.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("devices") / "set"
    draw_shapes(root, {"train": 15, "val": 6}, sizes=((48, 64), (56, 96)))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fcos", "gfl", "mask_rcnn", "cascade_mask_rcnn"])
def test_gradients_of_four_devices_are_those_of_one(root, tmp_path, head):
    for devices in (1, 4):
        out = tmp_path / f"{devices}.npz"
        finish(start(WORKER, ["gradients", out, root, head], devices))
        with np.load(out) as file:
            assert file["__devices__"] == devices
    # Sums over images in another order.
    assert_close(tmp_path / "4.npz", tmp_path / "1.npz", rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_training_of_two_processes_is_that_of_one(root, tmp_path):
    finish(start(WORKER, ["train", tmp_path / "alone", root, "fcos"]))
    address = f"127.0.0.1:{free_port()}"
    finish(
        *(
            start(WORKER, ["train", tmp_path / "together", root, "fcos", f"{address},2,{i}"])
            for i in range(2)
        )
    )
    assert_close(tmp_path / "together" / "state.npz", tmp_path / "alone" / "state.npz", 1e-3, 1e-4)
    # Every image once, whichever process read it: six, of which the last batch of four has two.
    alone, together = (
        [line for line in lines_of(tmp_path / name) if line["split"] == "eval"]
        for name in ("alone", "together")
    )
    assert [line["images"] for line in together] == [line["images"] for line in alone] == [6]
    assert together[0]["box_ap"] == pytest.approx(alone[0]["box_ap"], abs=0.01)
    for name in ("boxes.json", "classes.txt"):
        assert (tmp_path / "together" / "predictions" / name).exists()
