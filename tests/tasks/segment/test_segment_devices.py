import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_segment_job import SIZES

from deepmad_jax.data.scenes import draw_scenes
from launch.local_processes import free_port

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).parent / "segment_worker.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("devices") / "set"
    draw_scenes(root, {"training": 15, "validation": 6}, sizes=SIZES)
    return root


def start(arguments, devices=1):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(WORKER.parent)]),
    }
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def finish(*processes):
    for process in processes:
        text, _ = process.communicate(timeout=900)
        assert process.returncode == 0, text


def assert_close(ours, wanted, rtol, atol):
    with np.load(ours) as a, np.load(wanted) as b:
        assert set(a.files) == set(b.files)
        for name in a.files:
            if name != "__devices__":
                np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.slow
def test_gradients_and_statistics_of_four_devices_are_those_of_one(root, tmp_path):
    # BatchNorm's statistics too: were they of each device's one image, all would differ.
    for devices in (1, 4):
        out = tmp_path / f"{devices}.npz"
        finish(start(["gradients", out, root], devices))
        with np.load(out) as file:
            assert file["__devices__"] == devices
    # Sums over images in another order.
    assert_close(tmp_path / "4.npz", tmp_path / "1.npz", rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_training_of_two_processes_is_that_of_one(root, tmp_path):
    finish(start(["train", tmp_path / "alone", root]))
    address = f"127.0.0.1:{free_port()}"
    finish(*(start(["train", tmp_path / "together", root, f"{address},2,{i}"]) for i in range(2)))
    assert_close(tmp_path / "together" / "state.npz", tmp_path / "alone" / "state.npz", 1e-3, 1e-4)
    # Every pixel once, whichever process read it.
    alone, together = (
        json.loads((tmp_path / name / "predictions" / "segmentation.json").read_text())
        for name in ("alone", "together")
    )
    assert alone["pixels"] == together["pixels"]
    assert abs(alone["miou"] - together["miou"]) < 0.02
