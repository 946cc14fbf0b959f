"""The compared networks in ONNX and StableHLO give the recorded logits and maps."""

import numpy as np
import pytest

from deepmad_jax.errors import UserError
from deepmad_jax.interop.onnx_graph import write_onnx
from deepmad_jax.interop.stablehlo import to_stablehlo
from tests.nets.compared_nets import CLASSIFIERS, loaded, recorded

onnxruntime = pytest.importorskip("onnxruntime")

# As in `tests/nets/test_compared_nets.py`; ONNX Runtime's float32 sums are in its own order.
TOLERANCE = 5e-5


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_onnx_gives_the_recorded_logits_for_any_batch(name, tmp_path):
    checks, path = recorded(name)[2], tmp_path / "net.onnx"
    write_onnx(loaded(name), path)
    for images in (checks["__input__"], checks["__input__"][:1]):
        logits = run_onnx(path, images)
        expected = checks["__logits__"][: len(images)]
        np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE)


def test_onnx_of_merged_and_folded_kernels_gives_the_same(tmp_path):
    checks, path = recorded("replknet_a")[2], tmp_path / "net.onnx"
    write_onnx(loaded("replknet_a").with_merged_kernels().with_folded_batch_norm(), path)
    logits = run_onnx(path, checks["__input__"])
    np.testing.assert_allclose(logits, checks["__logits__"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["swin_w4_a", "tnt_a"])
def test_stablehlo_gives_the_recorded_logits(name):
    checks = recorded(name)[2]
    exported = to_stablehlo(loaded(name), platforms=("cpu",))
    logits = exported.call(checks["__input__"].transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, checks["__logits__"], rtol=0, atol=TOLERANCE)


def test_a_backbone_without_classifier_has_no_logits_to_export(tmp_path):
    with pytest.raises(UserError, match="stage_norms"):
        write_onnx(loaded("swin_features_a"), tmp_path / "net.onnx")
