"""Networks of clips in other formats: ONNX and StableHLO run, PyTorch's keys and axes."""

import jax.export
import numpy as np
import pytest
from flax import nnx
from references import with_random_weights

from deepmad_jax.arch import Architecture, Stage, Stem
from deepmad_jax.errors import InvalidArchitecture, UserError
from deepmad_jax.interop import tinynas_weights
from deepmad_jax.interop.formats import EXPORTS
from deepmad_jax.interop.onnx_graph import write_onnx
from deepmad_jax.interop.stablehlo import to_stablehlo
from deepmad_jax.nets import Network

ARCH = Architecture(
    "clips",
    *(15, 3, 4, Stem(8, kernel_t=3)),
    stages=(
        Stage("bottleneck", 12, 8, 3, 2, 2, kernel_t=3, stride_t=2),
        Stage("mbconv_se", 12, 16, 5, 1, 1, kernel_t=1, stride_t=2),
        Stage("k1kx", 12, 8, 1, 1, 1),
    ),
    frames=6,
)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""float32, and sums in another order."""


@pytest.fixture(scope="module")
def made():
    net, rng = with_random_weights(ARCH, 0)
    clips = rng.normal(size=(2, 6, 15, 15, 3)).astype(np.float32)
    logits = np.asarray(nnx.jit(lambda net, x: net(x))(net, clips))
    assert np.abs(np.diff(logits, axis=0)).max() > 0.1
    return net, clips, logits


@pytest.mark.parametrize("fold", [False, True])
def test_onnx_runtime_gives_our_logits_of_clips_of_any_size(made, fold, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net, clips, logits = made
    write_onnx(net.with_folded_batch_norm() if fold else net, tmp_path / "net.onnx")
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=providers)

    def run(clips):
        return session.run(["logits"], {"clips": clips.transpose(0, 4, 1, 2, 3)})[0]

    np.testing.assert_allclose(run(clips), logits, **CLOSE)
    # Even maps, where no average is over a part of a window.
    others = clips[:1, :4, :12, :8]
    expected = nnx.jit(lambda net, x: net(x))(net, others)
    np.testing.assert_allclose(run(others), expected, **CLOSE)


def test_stablehlo_gives_our_logits_for_any_batch(made):
    net, clips, logits = made
    function = jax.export.deserialize(to_stablehlo(net, ("cpu",)).serialize())
    np.testing.assert_allclose(function.call(clips), logits, **CLOSE)
    np.testing.assert_allclose(function.call(clips[1:]), logits[1:], **CLOSE)


def test_weights_have_pytorchs_keys_and_axes_and_come_back(made):
    net, _, _ = made
    weights = tinynas_weights.from_network(net)
    assert weights["block_list.0.conv1.weight"].shape == (8, 3, 3, 3, 3)
    inner = weights["block_list.1.block_list.1.conv2.conv1.weight"]
    ours = np.asarray(net.stages[0].rest.layers["main2_conv"].kernel[...])[0]
    np.testing.assert_array_equal(inner, np.moveaxis(ours, (3, 4), (1, 0)))
    other = Network(ARCH, rngs=nnx.Rngs(1))
    tinynas_weights.load_into(other, weights)
    for ours, theirs in zip(
        nnx.to_flat_state(nnx.state(net)), nnx.to_flat_state(nnx.state(other)), strict=True
    ):
        np.testing.assert_array_equal(ours[1][...], theirs[1][...])


def test_the_authors_structure_files_are_of_images(made, tmp_path):
    with pytest.raises(InvalidArchitecture, match="clips of 6 frames"):
        EXPORTS["tinynas"].write(made[0], tmp_path / "net.txt")


def test_litert_is_of_images(made, tmp_path):
    with pytest.raises(UserError, match="export it as onnx or stablehlo"):
        EXPORTS["litert"].write(made[0], tmp_path / "net.tflite")
