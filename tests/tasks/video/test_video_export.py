import dataclasses
import pathlib

import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_video_job import ARCH, CONFIG

from deepmad_jax.config import TrainConfig
from deepmad_jax.errors import InvalidConfig
from deepmad_jax.jobs.export import export
from deepmad_jax.tasks.video.exports import write_recogniser_onnx, write_recogniser_stablehlo
from deepmad_jax.tasks.video.recogniser import make_recogniser

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

SIDE, CLASSES = 24, 5


@pytest.fixture(scope="module")
def net():
    train = TrainConfig(dtype="float32", zero_init=False, dropout=0.4)
    net = make_recogniser(ARCH, dataclasses.replace(CONFIG, train=train), CLASSES, True)
    rng = np.random.default_rng(1)
    # Statistics as training leaves them: fresh ones would hide a mean or variance left out.
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.BatchNorm):
            shape = module.mean[...].shape
            module.mean[...] = jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32)
            module.var[...] = jnp.asarray(rng.uniform(0.5, 2, shape), jnp.float32)
    net.classes.kernel[...] *= 50.0
    net.classes.bias[...] = jnp.asarray(rng.normal(size=CLASSES), jnp.float32)
    return net


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    # Each frame of another light, or the means would be alike.
    light = rng.normal(size=(2, 3, 1, 1, 3))
    return (rng.normal(size=(2, 3, SIDE, SIDE, 3)) + 2 * light).astype(np.float32)


@pytest.fixture(scope="module")
def logits(net, frames):
    return np.asarray(nnx.jit(lambda net, x: net(x))(net, frames))


def test_onnx_gives_the_logits_of_a_clip_of_any_length_and_size(net, frames, logits, tmp_path):
    write_recogniser_onnx(net, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(
        str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"]
    )

    def run(frames):
        return session.run(["logits"], {"frames": frames.transpose(0, 1, 4, 2, 3)})[0]

    assert abs(np.diff(logits, axis=0)).max() > 0.1
    # float32, and sums in another order.
    np.testing.assert_allclose(run(frames), logits, rtol=1e-4, atol=1e-4)
    # The mean over frames, which are as many as are given.
    one_by_one = np.mean([run(frames[:, i : i + 1]) for i in range(3)], axis=0)
    np.testing.assert_allclose(run(frames), one_by_one, rtol=1e-4, atol=1e-4)
    assert run(frames[:1, :, :17, :20].repeat(4, axis=1)).shape == (1, CLASSES)


def test_stablehlo_gives_the_logits_of_a_clip_of_any_length(net, frames, logits, tmp_path):
    write_recogniser_stablehlo(net, tmp_path / "net.stablehlo", SIDE)
    code = bytearray(pathlib.Path(tmp_path / "net.stablehlo").read_bytes())
    function = jax.export.deserialize(code)
    np.testing.assert_allclose(function.call(frames), logits, rtol=1e-4, atol=1e-4)
    twice = function.call(np.concatenate([frames, frames], axis=1))
    np.testing.assert_allclose(twice, logits, rtol=1e-4, atol=1e-4)


def test_other_formats_are_refused(tmp_path):
    (tmp_path / "architecture.json").write_text(ARCH.to_json())
    config = dataclasses.replace(CONFIG, export=("npz",))
    with pytest.raises(InvalidConfig, match="recognisers are exported as onnx and stablehlo only"):
        export(config, tmp_path)
